"""Nothing that an input holds is followed unchecked: indices, lengths, divisors, coordinates, operator by operator.

Every value is refused, with its limits by the operator's definition, or gives what ONNX Runtime gives. A check that is
taken away is missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgesparse.backends.cpu.relax import checks
from edgesparse.errors import EdgesparseError
from edgesparse.pipeline.arguments import silent
from edgesparse.pipeline.stages import normalised
from tests.backends.cpu.executor import HOST
from tests.backends.cpu.hostile import Case, Subject, model_of
from tests.backends.cpu.single import ARM, random
from tests.backends.cpu.test_defined import truncated, wrapped

SOME = (6, 9)
ROWS, COLUMNS = (-6, 5), (-9, 8)


def ids(*shape: int, dtype: str = "int64") -> np.ndarray:
    return np.zeros(shape, dtype)


def image() -> np.ndarray:
    return random((2, 3, 8, 9))


def numbers(dtype: str) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.array([info.min, info.max, 7, -7, 0, -1, 33], dtype)


def case(
    op: str, inputs: list[np.ndarray], limits: Sequence[tuple[float, float]], label: str = "", **more: Any
) -> Case:
    facts = {name: more.pop(name) for name in ("judge", "behind", "fixed") if name in more}
    return Case(op, inputs, more.pop("hostile", 1), list(limits), more, label, **facts)


def indexed() -> list[Case]:
    regions = np.array([[0, 0, 4, 4], [1, 1, 6, 5]], np.float32)
    boxes = {"output_height": 2, "output_width": 2, "sampling_ratio": 2}
    half = {"padding_mode": "reflection", "align_corners": 1}
    bag = lambda inner, name: helper.make_node("ReduceSum", [inner], [name], keepdims=0, name=name)  # noqa: E731
    grid = np.zeros((2, 3, 4, 2), np.float32)
    x, y = random(SOME), random((7, 9))
    return [
        case("Gather", [x, ids(5)], [COLUMNS], axis=1),
        case("Gather", [x, ids(2, 3, dtype="int32")], [ROWS], "first"),
        case("Gather", [x, ids(4)], [ROWS], "bag", behind=bag),
        case("GatherElements", [x, ids(*SOME)], [COLUMNS], axis=1),
        case("GatherElements", [x, ids(2, 9, dtype="int32")], [ROWS], "first"),
        case("GatherND", [x, ids(5, 2)], [ROWS, COLUMNS]),
        case("GatherND", [x, ids(6, 1)], [COLUMNS], "batch", batch_dims=1),
        case("ScatterElements", [x, ids(2, 9), random((2, 9))], [ROWS]),
        case("ScatterElements", [x, ids(6, 2), random((6, 2))], [COLUMNS], "add", axis=1, reduction="add"),
        case("ScatterND", [x, ids(7, 1), y], [ROWS]),
        case("ScatterND", [x, ids(7, 2), random((7,))], [ROWS, COLUMNS], "columns"),
        case("ScatterND", [x, ids(7, 1), y], [ROWS], "max", reduction="max"),
        case("ReverseSequence", [x, ids(9)], [(0, 6)], time_axis=0, batch_axis=1),
        case("ReverseSequence", [x, ids(6)], [(0, 9)], "batch first", time_axis=1, batch_axis=0),
        case("RoiAlign", [image(), regions, ids(2)], [(0, 1)], hostile=2, **boxes),
        case("RoiAlign", [image(), regions, ids(2)], [(-16384, 16384)], "coordinates", **boxes),
        case("RoiAlign", [image(), regions, ids(2)], [(-32768, 32768)], "scaled", spatial_scale=0.5, **boxes),
        case("GridSample", [image(), grid], [(-np.inf, np.inf)]),
        case("GridSample", [image(), grid], [(-np.inf, np.inf)], "nearest", mode="nearest", padding_mode="border"),
        case("GridSample", [image(), grid], [(-65536, 65536)], "reflection", mode="linear", **half),
        case("OneHot", [ids(5), np.array(7), np.array([0, 1], np.float32)], [], hostile=0, fixed=(1, 2)),
        case(
            "RotaryEmbedding", [random((2, 2, 3, 8)), random((5, 4)), random((5, 4)), ids(2, 3)], [(-5, 4)], hostile=3
        ),
    ]


def divided() -> list[Case]:
    found = []
    judges = {
        "Div": ({}, wrapped(truncated)),
        "Mod": ({}, wrapped(lambda a, b: a % b)),
        "Mod fmod": ({"fmod": 1}, wrapped(lambda a, b: a - b * truncated(a, b))),
    }
    for dtype in ("int64", "int32", "int8"):
        for name, (attributes, judge) in judges.items():
            inputs = [numbers(dtype), np.ones(7, dtype)]
            op, _, label = name.partition(" ")
            found.append(case(op, inputs, [], f"{label} {dtype}", judge=lambda x, of=judge: of(*x), **attributes))
    return found


CASES = [*indexed(), *divided()]
QUICK = [
    case for case in CASES if case.op in ("Gather", "GatherND", "OneHot", "ScatterElements") or case.name == "Div int32"
]


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> dict[str, Subject]:
    targets = HOST, ARM[0]
    return {target.cpu.isa: Subject(QUICK, target, tmp_path_factory.mktemp(target.cpu.isa)) for target in targets}


@pytest.mark.parametrize("isa", [HOST.cpu.isa, ARM[0].cpu.isa])
def test_hostile_values_are_refused_or_right(quick, isa):
    assert quick[isa].wrong(QUICK) == []


def test_a_check_that_is_left_out_is_missed(quick):
    subject = quick[HOST.cpu.isa]

    for case in QUICK:
        for check in subject.checks(case):
            assert subject.wrong([case], skipped=check), f"{case.name} without step {check}"


@pytest.mark.slow(part="hostile")
@pytest.mark.parametrize("target", [HOST, *ARM], ids=lambda target: target.cpu.isa)
def test_hostile_values_are_refused_or_right_in_every_operator(target, tmp_path):
    subject = Subject(CASES, target, tmp_path)
    checked = {case.op: subject.checks(case) for case in CASES}

    assert subject.wrong(CASES) == []

    assert {op for op, steps in checked.items() if steps} == {*checks.RULES, "RotaryEmbedding"}
    for case in CASES:
        for check in subject.checks(case):
            assert subject.wrong([case], skipped=check), f"{case.name} without step {check}"


def every_check() -> list[tuple[str, int]]:
    """Each check of an operator, by its number."""
    return [(op, number) for op in checks.RULES for number in range(2 if op == "RoiAlign" else 1)]


@pytest.mark.slow(part="hostile")
@pytest.mark.parametrize(("op", "number"), every_check())
def test_a_check_that_the_compiler_does_not_know_is_missed(op, number, monkeypatch, tmp_path):
    cases, rules = [case for case in CASES if case.op == op], checks.RULES[op]
    monkeypatch.setitem(checks.RULES, op, lambda node: (r for n, r in enumerate(rules(node)) if n != number))

    assert Subject(cases, HOST, tmp_path).wrong(cases)


SIZES = {
    "CumSum axis": ("CumSum", [random(SOME), np.array(0)], {}),
    "Expand": ("Expand", [random((1, 9)), ids(2)], {}),
    "MaxUnpool": ("MaxUnpool", [random((1, 1, 2, 2)), ids(1, 1, 2, 2)], {"kernel_shape": [2, 2]}),
    "Pad": ("Pad", [random(SOME), ids(4)], {}),
    "Range": ("Range", [np.array(0), np.array(5), np.array(1)], {}),
    "Reshape": ("Reshape", [random(SOME), ids(2)], {}),
    "Resize": ("Resize", [random((1, 1, 8, 8)), np.ones(8, np.float32), np.ones(4, np.float32)], {}),
    "Slice": ("Slice", [random(SOME), ids(1), ids(1)], {}),
    "TensorScatter": ("TensorScatter", [random((2, 4, 3)), random((2, 1, 3)), ids(2)], {}),
    "Tile": ("Tile", [random(SOME), ids(2)], {}),
    "TopK": ("TopK", [random(SOME), ids(1)], {}),
    "Trilu": ("Trilu", [random(SOME), np.array(0)], {}),
    "Unsqueeze": ("Unsqueeze", [random(SOME), ids(1)], {}),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_that_only_a_run_knows_are_refused_in_one_line(name):
    op, inputs, attributes = SIZES[name]
    model = ir.serde.deserialize_model(model_of([Case(op, inputs, 1, [], attributes)]))

    with pytest.raises(EdgesparseError) as refusal:
        normalised(model, None, silent)

    assert op in str(refusal.value) and "\n" not in str(refusal.value)
