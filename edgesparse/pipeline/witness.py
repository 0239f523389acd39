"""Two witnesses of every compilation: the user's model against its normal form, and against the artifact.

They run on the same inputs, ONNX Runtime without its optimizer and the artifact on this machine, so that a fault of
ours in reading a model or in making code for it ends the compilation instead of reaching a device.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesparse.devices.local import LOCAL
from edgesparse.errors import MeasureError, OnnxRuntimeError, WitnessError
from edgesparse.nodes import called, dtype_of, shape_of
from edgesparse.numerics import F16, Element
from edgesparse.pipeline.reports import WitnessReport
from edgesparse.pipeline.sample_files import first_of

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir as ir

    from edgesparse.program import Program

AGREES = "agrees"
MOST_BYTES = 1 << 32
"""Memory of a model's values beyond which nobody runs it while it is compiled."""

CHOOSING = (
    "ArgMax",
    "ArgMin",
    "GlobalMaxPool",
    "Hardmax",
    "LogSoftmax",
    "MaxPool",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMin",
    "TopK",
)
"""Operators for which no standard tells what they choose among numbers and NaN."""

Arrays = Mapping[str, "np.ndarray"]


@dataclass(frozen=True)
class Judged:
    """The user's model: a file, or in memory where it was pruned or exported; and its normal form.

    `computed` is the type that results are judged by, where that is not their own; `half` the normal form in float16,
    where that is what a target computes and nobody has tried.
    """

    model: Path | ir.Model
    normal: ir.Model
    samples: Mapping[str, Any] | None = None
    computed: Element | None = None
    half: ir.Model | None = None


def witness(judged: Judged, programs: Sequence[Program]) -> WitnessReport:
    """Compare what the user's model, its normal form and the compiled programs that run here compute.

    Raises: WitnessError: an output differs by more than `verify` tolerates, and by more than it does when the inputs
        or the weights move by one unit in their last place.
    """
    started = time.perf_counter()
    size = max(program.engines[0].arena_bytes for program in programs)
    found = _Witness(judged, f"its values take {size} bytes, at most {MOST_BYTES} are run" if size > MOST_BYTES else "")
    imported, first = found.judge("import", found.run_normal)
    found.require_half()
    told = [_judge_code(found, program) for program in programs]
    code = next((words for words, _ in told if words == AGREES), told[0][0])
    error = max(first, *(error for _, error in told))
    return WitnessReport(imported, code, error, time.perf_counter() - started)


def _judge_code(found: _Witness, program: Program) -> tuple[str, float]:
    (image,) = program.images
    return found.judge("code", lambda feeds: run(program, feeds), LOCAL.why_not(image.isa, image.cpu_features))


class _Witness:
    """The user's model on one set of inputs: what it computes, or why it cannot be told."""

    def __init__(self, judged: Judged, why: str) -> None:
        from edgesparse import reference

        self._judged = judged
        self.why = why or _random(judged.normal)
        self.feeds: Arrays = {}
        self.expected: Arrays = {}
        if self.why:
            return
        try:
            self._session = reference.Session(judged.model, threads=0)
            self._start()
        except OnnxRuntimeError as err:
            self.why = str(err)

    def _start(self) -> None:
        """Run on samples, or on made-up inputs; where those do not fit, with zeros and ones for all integers."""
        from edgesparse.pipeline.ranges import seeded_inputs

        normal, given = self._judged.normal, self._judged.samples
        self.feeds = seeded_inputs(normal) | (_first(given, normal) if given else {})
        try:
            self.expected = self._run(self.feeds)
        except OnnxRuntimeError:
            self.feeds = {name: array % 2 if array.dtype.kind in "iu" else array for name, array in self.feeds.items()}
            self.expected = self._run(self.feeds)

    def _run(self, feeds: Arrays) -> Arrays:
        wanted = set(self._session.inputs)
        return self._session.run({name: array for name, array in feeds.items() if name in wanted})

    def run_normal(self, feeds: Arrays) -> Arrays:
        """What the normal form computes in ONNX Runtime."""
        from edgesparse import reference

        return reference.evaluate(self._judged.normal, feeds, threads=0)

    def require_half(self) -> None:
        """Raises: WitnessError: float16 does not hold what the model computes on these inputs."""
        import numpy as np
        import onnx_ir as ir

        from edgesparse import measure, reference

        half = self._judged.half
        if self.why or half is None:
            return
        computed = [
            str(value.name) for node in half.graph for value in node.outputs if value.dtype == ir.DataType.FLOAT16
        ]
        try:  # ONNX Runtime does not round between its kernels, which are of float32, but what it is asked for
            actual = reference.evaluate(half, self.feeds, [*computed, *self.expected], threads=0)
        except OnnxRuntimeError:
            return
        wrong = [f"{name!r} is infinite or no number" for name in computed if not np.isfinite(actual[name]).all()]
        for difference in measure.compare_all(actual, self.expected, F16):
            if not difference.agrees and not self._is_rounding(difference.name, actual):
                wrong.append(f"{difference.name!r} is off by {difference.max_error:.2g} of its largest value")
        if wrong:
            raise WitnessError(
                f"in {F16.name} {wrong[0]}: the model computes numbers too large or too small for it; "
                f"remedy: compile without --dtype {F16.short}"
            )

    def judge(self, what: str, run: Callable[[Arrays], Arrays], why: str = "") -> tuple[str, float]:
        """Whether `run` computes the same, in words, and the largest error.

        Raises: WitnessError: it does not.
        """
        from edgesparse import measure

        why = self.why or why
        if why:
            return f"not judged: {why}", 0.0
        try:
            actual = run(self.feeds)
        except OnnxRuntimeError as err:
            return f"not judged: {err}", 0.0
        except MeasureError as err:
            if getattr(err.__cause__, "status", "") == "ES_ERR_NO_MEMORY":
                return f"not judged: {err}", 0.0
            raise WitnessError(f"{what} does not run ({err}): this is our fault, please report it") from err
        differences = measure.compare_all(actual, self.expected, self._judged.computed)
        for difference in differences:
            if not difference.agrees and not self._is_rounding(difference.name, actual):
                if (undefined := self._undefined()) is not None:
                    return f"not judged: {undefined}", 0.0
                raise WitnessError(
                    f"{what} changed output {difference.name!r} (max error {difference.max_error:.2g}"
                    f"{': ' + difference.note if difference.note else ''}): this is our fault, please report it"
                )
        errors = [difference.max_error for difference in differences if difference.agrees]
        return AGREES, max(errors, default=0.0)

    def _undefined(self) -> str | None:
        """What a node does on these inputs that no standard defines, in the normal form or in the user's model."""
        from edgesparse import frontend

        model = self._judged.model
        source = frontend.read(model) if isinstance(model, Path) else model
        return next(filter(None, map(self._undefined_in, (self._judged.normal, source))), None)

    def _undefined_in(self, model: ir.Model) -> str | None:
        from edgesparse import reference

        nodes = [node for node in model.graph if _may_be_undefined(node)]
        read = {node: [str(value.name) for value in node.inputs if value is not None] for node in nodes}
        names = {name for operands in read.values() for name in operands}
        known = {**self.feeds, **{name: array for name in names if (array := _held(model, name)) is not None}}
        names -= set(known)
        try:
            computed = reference.evaluate(model, self.feeds, names, threads=0) if names else {}
        except OnnxRuntimeError:
            return None
        values = {**known, **computed}
        found = (_what_is_undefined(node, [values[name] for name in operands]) for node, operands in read.items())
        return next(filter(None, found), None)

    def _is_rounding(self, name: str, actual: Arrays) -> bool:
        """Whether an output differs by no more than it does when inputs or weights move a little."""
        from edgesparse.pipeline.unsteady import is_rounding, moved_outputs

        moved = moved_outputs(self._run, self._judged.model, self.feeds, [name])
        return is_rounding(actual.get(name), self.expected[name], (outputs[name] for outputs in moved))


def _held(model: ir.Model, name: str) -> np.ndarray | None:
    """The array of an initializer."""
    value = model.graph.initializers.get(name)
    return None if value is None or value.const_value is None else value.const_value.numpy()


def _may_be_undefined(node: ir.Node) -> bool:
    return not node.domain and node.op_type in (*CHOOSING, "Cast", "CastLike", "Pow")


def _what_is_undefined(node: ir.Node, operands: Sequence[np.ndarray]) -> str | None:
    """What a choice, a cast or a power does with its operands, if no standard defines it."""
    import numpy as np
    import onnx_ir as ir

    who, operand = called(node.op_type, node.name, [str(value.name) for value in node.outputs]), operands[0]
    if node.op_type == "Pow":
        if operand.dtype.kind == "f":
            return None
        with np.errstate(over="ignore", divide="ignore"):
            powers = operand.astype(np.float64) ** operands[1].astype(np.float64)
        return None if _holds(operand.dtype, powers) else f"{who} gives numbers that {operand.dtype} does not hold"
    if operand.dtype.kind != "f":
        return None
    if node.op_type in CHOOSING:
        return f"{who} chooses among numbers and NaN" if np.isnan(operand).any() else None
    kind = ir.DataType(node.attributes.get_int("to", 0)).numpy() if node.op_type == "Cast" else operands[1].dtype
    to = str(kind)
    if not to.startswith(("int", "uint")) or _holds(kind, operand):
        return None
    return f"{who} casts numbers that {to} does not hold"


def _holds(integer: np.dtype, numbers: np.ndarray) -> bool:
    """Whether an integer type holds what is left of all numbers when their fractions are cut off."""
    import numpy as np

    limits, wide = np.iinfo(integer), numbers.astype(np.float64)
    return bool(((wide > limits.min - 1) & (wide < limits.max + 1)).all())


def _first(given: Mapping[str, Any], normal: ir.Model) -> dict[str, np.ndarray]:
    """As many of the samples as a run takes, in the types of the inputs."""
    import numpy as np

    inputs = {str(value.name): value for value in normal.graph.inputs}
    first = first_of(given, {name: shape_of(value) for name, value in inputs.items()}) or {}
    return {name: np.asarray(array, dtype_of(inputs[name])) for name, array in first.items()}


def _random(model: ir.Model) -> str:
    """Why a model with random operators cannot be compared with itself."""
    from edgesparse.frontend import is_random

    drawn = next((node for node in model.graph if is_random(node)), None)
    return "" if drawn is None else f"{drawn.op_type} {drawn.name!r} is random"


def run(program: Program, feeds: Arrays) -> Arrays:
    """What a program that this machine can run computes."""
    from edgesparse.package.writer import write

    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        path = Path(folder) / "model.esp"
        write([program], {}, path)
        with LOCAL.open(path) as opened:
            outputs: Arrays = opened.run(dict(feeds))
            return outputs
