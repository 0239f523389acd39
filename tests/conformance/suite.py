"""The conformance suite of ONNX, its cases and their verdicts.

The suite brings models, inputs and expected outputs. A case passes when every output is as expected, is declined
when the model is refused by an error that says why, and is wrong in every other event.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from edgesparse.backend import EdgesparseBackend
from edgesparse.errors import EdgesparseError

KINDS = ("simple", "pytorch-converted", "pytorch-operator", "node")
_FOREIGN_KINDS = {"sequence_type": "sequences", "optional_type": "optional values", "map_type": "maps"}
_FOREIGN_TYPES = re.compile(r"STRING|BFLOAT16|FLOAT8.*|U?INT[24]|FLOAT4.*|COMPLEX.*")
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})

CORNERS = ("test_resize_downsample_scales_cubic_align_corners", "test_resize_downsample_scales_linear_align_corners")
"""Cases that place the corners by size times scale; ONNX Runtime and PyTorch take the whole output length, as we do."""


HALF_RTOL = 2**-9
"""Two units of float16's last place: expected values too were rounded by every operator, but in another order."""


class Verdict(StrEnum):
    """What became of a case."""

    PASSED = "passed"
    DECLINED = "declined"
    WRONG = "wrong"


@dataclass(frozen=True)
class Outcome:
    """The verdict on a case; `reason` is one line where it did not pass."""

    kind: str
    name: str
    operator: str
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Case:
    """A model of the suite with its inputs and expected outputs; node cases are made in memory, others are files."""

    kind: str
    test: TestCase
    operator: str = ""

    @property
    def name(self) -> str:
        return str(self.test.name)

    @property
    def id(self) -> str:
        """A short name that is unique in the whole suite."""
        return f"{self.kind}:{self.name.removeprefix('test_')}"

    def model(self) -> onnx.ModelProto:
        """The model under test."""
        if self.test.model is not None:
            return self.test.model
        return onnx.load(Path(self.test.model_dir) / "model.onnx")

    def data_sets(self) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
        """Inputs and expected outputs."""
        if self.test.data_sets:
            for inputs, outputs in self.test.data_sets:
                yield [_array(value) for value in inputs], [_array(value) for value in outputs]
            return
        for folder in sorted(Path(self.test.model_dir).glob("test_data_set*")):
            yield _stored(folder, "input"), _stored(folder, "output")


@cache
def cases(kind: str) -> list[Case]:
    """The cases of one part of the suite that edgesparse could be asked to run; the same order every time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = load_model_tests(kind=kind)
    found = [Case(kind, test) for test in sorted(tests, key=lambda test: test.name)]
    models = {case.name: case.model() for case in found}
    named = {name: "+".join(sorted({node.op_type for node in model.graph.node})) for name, model in models.items()}
    return [
        Case(kind, case.test, named.get(_base(case.name), named[case.name]))
        for case in found
        if exclusion(models[case.name]) is None and case.name not in CORNERS
    ]


def exclusion(model: onnx.ModelProto) -> str | None:
    """Why a model is out of question on every target; None where it is not."""
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type.WhichOneof("value")
        if kind in _FOREIGN_KINDS:
            return _FOREIGN_KINDS[kind]
        element = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        if _FOREIGN_TYPES.fullmatch(element):
            return "strings" if element == "STRING" else f"elements of type {element}"
    operators = {node.op_type for node in model.graph.node}
    if any("training" in node.domain for node in model.graph.node):
        return "training"
    if operators & _CONTROL_FLOW:
        return "control flow"
    if any(operator.startswith(("Sequence", "SplitToSequence")) for operator in operators):
        return "sequences"
    return "optional values" if any(operator.startswith("Optional") for operator in operators) else None


def judge(case: Case) -> Outcome:
    """Compile and run a case."""
    verdict, reason = Verdict.PASSED, ""
    try:
        rep = EdgesparseBackend.prepare(case.model())
        for inputs, expected in case.data_sets():
            outputs = rep.run(inputs)
            half = any(array.dtype == np.float16 for array in expected)
            rtol = max(case.test.rtol, HALF_RTOL) if half else case.test.rtol
            Runner.assert_similar_outputs(expected, list(outputs), rtol, case.test.atol)
        rep.close()
    except EdgesparseError as err:
        verdict, reason = Verdict.DECLINED, str(err)
    except Exception as err:  # whatever else happens is a defect that the report must show
        verdict, reason = Verdict.WRONG, f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"
    return Outcome(case.kind, case.name, case.operator, verdict, reason)


def judge_all(kinds: Sequence[str] = KINDS, processes: int = 2) -> list[Outcome]:
    """Every case of `kinds`, in several processes."""
    work = [(kind, part, processes) for kind in kinds for part in range(processes)]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        parts = pool.map(_judge_part, work)
        return sorted((outcome for part in parts for outcome in part), key=lambda o: (KINDS.index(o.kind), o.name))


def _judge_part(work: tuple[str, int, int]) -> list[Outcome]:
    kind, part, parts = work
    return [judge(case) for case in cases(kind)[part::parts]]


def _base(name: str) -> str:
    """The case that a case of the same operator, written out, belongs to."""
    return re.sub(r"_expanded(_ver\d+)?$", "", name)


def _array(value: np.ndarray | onnx.TensorProto) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _stored(folder: Path, role: str) -> list[np.ndarray]:
    paths = sorted(folder.glob(f"{role}_*.pb"), key=lambda path: int(path.stem.split("_")[-1]))
    return [numpy_helper.to_array(onnx.load_tensor(path)) for path in paths]
