"""One model of every operator that follows what an input holds, and a program that tries values in it.

The kernels of the artifact run one by one, each operand alone between pages that nobody may touch, each trial in a
process of its own: what reads or writes outside, or finds no end, dies.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgesparse import frontend
from edgesparse.backends.cpu import supports
from edgesparse.backends.cpu.assemble import assemble
from edgesparse.backends.cpu.walk import Lowered
from edgesparse.devices.targets import Target
from edgesparse.package.writer import write
from edgesparse.program import Constant
from runtime import build
from tests.backends.cpu.planned import lowered_without_layers
from tests.e2e.flow import emulated
from tests.models import ort_run

OPSET = 24
TRIAL = Path(build.__file__).with_name("tests") / "trial.c"
_TRIAL = struct.Struct("<6IQ8s")
_RESULT = struct.Struct("<i4x6q16x")  # the status, and the fault

VALUES = 40
_LIMITS = [s * (2**p + d) for p in (31, 63, 32, 33, 62, 15, 16, 40, 48, 7, 8) for s in (1, -1) for d in (-1, 0, 1)]
_EVERY = [0, *_LIMITS, *(s * v for v in (10, 33, 34, 64, 100, 1000, 4096, 12345, 10**6, 10**9) for s in (1, -1))]
_REAL = [np.nan, *(v * s for v in (0, 1e-45, 0.5, 1, 1.5, 7, 9, 16, 17, 100, 1e3, 1e4) for s in (1, -1))]
_REAL += [v * s for v in (16384, 16385, 65536, 65537, 2**31, 2**63, 1e9, 1e20, 3e38, np.inf) for s in (1, -1)]
_OUTSIDE = 1 << 17

Arrays = list[np.ndarray]
Limits = list[tuple[float, float]]
"""The lowest and the highest value that each column of an operand may hold."""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial."""

    status: int  # 0; 1 where a kernel refused; -1 where the process died
    fault: tuple[int, ...]  # kind, operand, element, found, lowest, highest
    output: np.ndarray | None


@dataclass(frozen=True)
class Case:
    """An operator, and the input that is tried.

    `limits` is what is allowed by hand, [] for any value, and `judge` says the result where neither ONNX Runtime
    nor the reference does.
    """

    op: str
    inputs: Arrays
    hostile: int
    limits: Limits
    attributes: dict[str, Any]
    label: str = ""
    judge: Callable[[Arrays], np.ndarray] | None = None
    behind: Callable[[str, str], onnx.NodeProto] | None = None  # a node that takes the result, by name
    fixed: tuple[int, ...] = ()  # inputs that are constants

    @property
    def name(self) -> str:
        """Of the node and of its output."""
        return f"{self.op} {self.label}".strip()

    @property
    def tried(self) -> str:
        """The name of the input that is tried."""
        return f"{self.name} x{self.hostile}"

    def nodes(self) -> list[onnx.NodeProto]:
        """What computes the output."""
        names = [f"{self.name} x{number}" for number in range(len(self.inputs))]
        result = f"{self.name} inner" if self.behind else self.name
        node = helper.make_node(self.op, names, [result], name=self.name, **self.attributes)
        return [node, self.behind(result, self.name)] if self.behind else [node]

    def feeds(self) -> dict[str, np.ndarray]:
        """Inputs of the model, and values that are allowed."""
        return {name: array for number, (name, array) in enumerate(self._operands()) if number not in self.fixed}

    def constants(self) -> list[onnx.TensorProto]:
        """The other inputs of the node."""
        return [numpy_helper.from_array(a, name) for at, (name, a) in enumerate(self._operands()) if at in self.fixed]

    def _operands(self) -> list[tuple[str, np.ndarray]]:
        return [(f"{self.name} x{number}", array) for number, array in enumerate(self.inputs)]

    def values(self) -> list[Any]:
        """Values to try: just inside and outside of the limits, and at those of types."""
        dtype = self.inputs[self.hostile].dtype
        if dtype.kind == "f":
            return [*(v for pair in self.limits for v in pair), *_REAL][: VALUES + 5]
        ends = [value + d for pair in self.limits for value in pair for d in (-1, 0, 1)]
        info = np.iinfo(dtype)
        fitting = [int(value) for value in (*ends, *_EVERY) if info.min <= value <= info.max]
        return list(dict.fromkeys(fitting))[:VALUES]

    def place(self, number: int) -> int:
        """The element that value `number` goes to."""
        return number % self.inputs[self.hostile].size

    def allowed(self, number: int, value: float) -> bool:
        """Whether the value may stand at its place."""
        if not self.limits:
            return self.op not in ("Div", "Mod") or value != 0
        lowest, highest = self.limits[self.place(number) % len(self.limits)]
        return bool(lowest <= value <= highest)

    def accepts(self, number: int, value: Any, outcome: Outcome) -> bool:
        """Whether this is what should become of the value."""
        if not self.allowed(number, value):
            return outcome.status == 1 and outcome.fault[2:] == self._fault(number, value)
        expected = self.expected(number, value) if outcome.output is not None else None
        if expected is None or outcome.output is None or outcome.output.dtype != expected.dtype:
            return False
        return bool(np.allclose(outcome.output, expected, rtol=1e-4, atol=1e-5, equal_nan=True))

    def _fault(self, number: int, value: Any) -> tuple[int, ...]:
        """Element, value and limits as a kernel reports them."""
        limits = self.limits[self.place(number) % len(self.limits)] if self.limits else (0, 0)
        held = np.array([value, *limits], np.float32 if self.inputs[self.hostile].dtype.kind == "f" else np.int64)
        if held.dtype == np.float32:
            held = held.astype(np.float64).view(np.int64)
        return self.place(number), *map(int, held)

    def expected(self, number: int, value: Any) -> np.ndarray:
        """The output with a value that is allowed."""
        inputs = list(self.inputs)
        inputs[self.hostile] = inputs[self.hostile].copy()
        inputs[self.hostile].reshape(-1)[self.place(number)] = value
        if self.op == "GridSample":  # far outside is as good as outside; ONNX Runtime's integers do not hold it
            inputs[1] = np.clip(inputs[1], -_OUTSIDE, _OUTSIDE)
        if self.judge is not None:
            return self.judge(inputs)
        model = model_of([self])
        feeds = replace(self, inputs=inputs).feeds()
        try:
            return ort_run(model, feeds)[0]
        except Exception:  # it lacks the newest operators
            return ReferenceEvaluator(model).run(None, feeds)[0]


def model_of(cases: Sequence[Case]) -> onnx.ModelProto:
    """The cases side by side; every input is an input of the model."""
    nodes = [node for case in cases for node in case.nodes()]
    feeds = {name: array for case in cases for name, array in case.feeds().items()}
    inputs = [_info(name, array.dtype, array.shape) for name, array in feeds.items()]
    outputs = [_info(case.name, case.inputs[0].dtype if case.op != "OneHot" else np.float32) for case in cases]
    constants = [constant for case in cases for constant in case.constants()]
    graph = helper.make_graph(nodes, "hostile", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=11)


def _info(name: str, dtype: np.typing.DTypeLike, shape: Sequence[int] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def lowered(cases: Sequence[Case], target: Target) -> Lowered:
    """The calls that compute the cases."""
    model = frontend.load(ir.serde.deserialize_model(model_of(cases)), supports=supports)
    return lowered_without_layers(model, target)


class Subject:
    """The cases compiled for a target."""

    def __init__(self, cases: Sequence[Case], target: Target, folder: Path) -> None:
        self.cases, self.target, self.folder = list(cases), target, folder
        self.lowered = lowered(cases, target)
        program = assemble(self.lowered, target)
        write([program], {}, self.artifact)
        self.inputs, self.outputs = list(self.lowered.inputs), list(self.lowered.outputs)
        feeds = {name: array for case in cases for name, array in case.feeds().items()}
        (folder / "inputs").write_bytes(b"".join(np.ascontiguousarray(feeds[name]).tobytes() for name in self.inputs))

    @property
    def artifact(self) -> Path:
        """Its file."""
        return self.folder / "model.esp"

    @cached_property
    def steps(self) -> dict[str, list[int]]:
        """The steps that compute the output of each case, with the checks before them."""
        found = {}
        for case in self.cases:
            wanted = {self.lowered.outputs[case.name].memory}
            steps: list[int] = []
            for number, call in reversed(list(enumerate(self.lowered.calls))):
                reads = {read.memory for read in call.reads if not isinstance(read, Constant)}
                if wanted & {write.memory for write in call.writes}:
                    wanted |= reads
                elif not (call.kernel.fails and reads <= wanted):
                    continue
                steps.append(number)
            found[case.name] = sorted(steps)
        return found

    def checks(self, case: Case) -> list[int]:
        """Those of its steps that may refuse what is tried; of equal ones the first."""
        found: dict[object, int] = {}
        for step in self.steps[case.name]:
            call = self.lowered.calls[step]
            if call.kernel.fails and any(read.name == case.tried for read in call.reads):
                found.setdefault((call.kernel.symbol, call.reads), step)
        return list(found.values())

    def wrong(self, cases: Sequence[Case], skipped: int = 2**32 - 1) -> list[str]:
        """Every value tried in every case, without a step: what became other than it should."""
        trials = [(case, number, value) for case in cases for number, value in enumerate(case.values())]
        return [
            f"{case.name}: element {case.place(number)} is {value}: {outcome}"
            for (case, number, value), outcome in zip(trials, self.run(trials, skipped), strict=True)
            if not case.accepts(number, value, outcome)
        ]

    def run(self, trials: Sequence[tuple[Case, int, Any]], skipped: int = 2**32 - 1) -> list[Outcome]:
        """Try values in cases, by number, without a step."""
        path = self.folder / "trials"
        path.write_bytes(b"".join(self._record(*trial, skipped) for trial in trials))
        command = [*emulated(self.target.cpu.isa), build.guest_program(TRIAL, self.target.cpu.isa)]
        command += [self.artifact, self.folder / "inputs", path]
        done = subprocess.run(list(map(str, command)), capture_output=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr.decode()
        outcomes, at = [], 0
        for case, _, _ in trials:
            status, *fault = _RESULT.unpack_from(done.stdout, at)
            at += _RESULT.size
            output = None
            if status == 0:
                known = self.lowered.outputs[case.name]
                output = np.frombuffer(done.stdout, known.dtype, known.size, at).reshape(known.shape)
                at += known.size_bytes
            outcomes.append(Outcome(status, tuple(fault), output))
        assert at == len(done.stdout)
        return outcomes

    def _record(self, case: Case, number: int, value: Any, skipped: int) -> bytes:
        array, steps = case.inputs[case.hostile], self.steps[case.name]
        numbers = self.inputs.index(case.tried), self.outputs.index(case.name)
        at, width = case.place(number) * array.itemsize, array.itemsize
        held = np.array(value, array.dtype).tobytes()
        return _TRIAL.pack(steps[0], steps[-1] + 1, skipped, *numbers, width, at, held)
