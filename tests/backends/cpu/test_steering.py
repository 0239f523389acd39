"""No index that the loader accepts leads a kernel out of its operands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgesparse.backends.cpu.assemble import assemble
from edgesparse.backends.cpu.kernel import Call
from edgesparse.forms.narrow import NarrowTile
from edgesparse.forms.sparse import SparseTile
from edgesparse.package.writer import write
from edgesparse.plan import LayerPlan
from edgesparse.program import Constant, IndexKind
from tests.backends.cpu.addresses import unproved
from tests.backends.cpu.executor import HOST, with_cpu
from tests.backends.cpu.hostile import Case, Subject, lowered
from tests.backends.cpu.planned import lowered_by
from tests.backends.cpu.single import random, runnable_targets
from tests.backends.cpu.test_hostile import indexed
from tests.backends.cpu.test_weighted import model_of, sparse_random
from tests.e2e.flow import steer

PLANS = {
    "blocks": SparseTile(2, 8, rows=4, splits=2, block=(2, 1)),
    "in tiles": SparseTile(2, 16, rows=2, splits=3, chunk=2),  # of 33 rows the last block of K has one
    "window": SparseTile(1, 64, rows=4, splits=2, block=(4, 1)),
    "columns": SparseTile(2, 8, rows=2, block=(1, 4)),
    "joined": SparseTile(2, 1000, rows=4),
    "narrow": NarrowTile(2, 16, columns=7),
    "head": SparseTile(1, 64),
}


def model() -> tuple[ir.Model, dict[str, LayerPlan]]:
    """Layers of every sparse form, and of all that hold offsets; widths are no multiples of a vector."""
    shapes = {
        "blocks": (33, 24, 1, 1),
        "in tiles": (40, 33, 1, 1),
        "window": (16, 40, 3, 3),
        "columns": (2, 16, 1, 1),
        "joined": (48, 2, 1, 1),
        "narrow": (32, 48, 1, 1),
    }
    weights = {name: sparse_random(shape, 0.4) for name, shape in shapes.items()}
    weights |= {"depthwise": random((48, 1, 3, 3)), "head": sparse_random((32, 10), 0.4)}
    nodes, x = [], "x"
    for name in ("blocks", "in tiles", "window", "columns", "joined", "depthwise", "narrow"):
        window = {"pads": [1] * 4} if weights[name].shape[-1] == 3 else {}
        group = {"group": 48} if name == "depthwise" else {}
        nodes.append(helper.make_node("Conv", [x, name], [f"{name} y"], name=name, **window, **group))
        x = f"{name} y"
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], name="flat"))
    nodes.append(helper.make_node("MatMul", ["flat", "head"], ["y"], name="head"))
    return ir.from_proto(model_of(nodes, {"x": random((1, 24, 9, 7))}, weights))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Path:
    target = with_cpu(runnable_targets()[-1], l2_bytes=8192)  # so small that layers join
    program = assemble(lowered_by(model(), PLANS.__getitem__, target), target)
    kinds = [array.bound.kind for array in program.arrays]
    assert (kinds.count(IndexKind.INDPTR), kinds.count(IndexKind.ORDER)) == (6, 5)
    assert any("Conv+Conv" in step.op for step in program.steps)
    path = tmp_path_factory.mktemp("steering") / "model.esp"
    write([program], {}, path)
    return path


def held(case: Case) -> Case:
    """The case with indices of the model instead of an input."""
    rng, indices = np.random.default_rng(0), case.inputs[case.hostile]
    columns = [rng.integers(int(low), int(high) + 1, indices.size) for low, high in case.limits]
    chosen = np.stack(columns, 1).reshape(-1)[: indices.size].astype(indices.dtype).reshape(indices.shape)
    inputs = [chosen if number == case.hostile else array for number, array in enumerate(case.inputs)]
    return replace(case, inputs=inputs, fixed=(*case.fixed, case.hostile))


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Path:
    """Operators that follow indices which the model holds, or that are worked out when it is compiled."""
    cases = [held(case) for case in indexed() if case.op not in ("GridSample", "OneHot") and "scaled" not in case.label]
    sizes = {"linear": (1, 2, 16, 5), "nearest": (1, 2, 5, 16), "cubic": (1, 2, 9, 9)}
    for mode, size in sizes.items():
        inputs = [random((1, 2, 8, 9)), *[np.array([], np.float32)] * 2, np.array(size)]
        cases.append(Case("Resize", inputs, 3, [], {"mode": mode}, mode, fixed=(1, 2, 3)))
    subject = Subject(cases, HOST, tmp_path_factory.mktemp("followed"))
    bounds = [read.bound for call in subject.lowered.calls for read in call.reads if isinstance(read, Constant)]
    assert sum(bound is not None for bound in bounds) >= len(cases)
    return subject.artifact


def test_no_kernel_follows_a_constant_that_nothing_proves_or_checks():
    indices = [held(case) for case in indexed() if case.limits and case.inputs[case.hostile].dtype.kind == "i"]
    coordinates = [replace(case, fixed=(1,)) for case in indexed() if case.inputs[case.hostile].dtype.kind == "f"]
    calls = lowered([*indices, *coordinates], HOST).calls

    assert unproved(calls) == []
    followed = " ".join(unproved([without_bounds(call) for call in calls if not call.kernel.fails]))
    assert [case.op for case in indices if f"({case.op})" not in followed] == ["RotaryEmbedding"]  # of Gathers


def without_bounds(call: Call) -> Call:
    """The call with constants of which nothing is known."""
    reads = (Constant(read.data) if isinstance(read, Constant) else read for read in call.reads)
    return replace(call, reads=tuple(reads))


@pytest.mark.parametrize("which", ["artifact", "followed"])
def test_kernels_keep_to_their_operands_whatever_is_accepted(which, request):
    accepted, refused = steer(request.getfixturevalue(which), HOST.cpu.isa, seed=1, turns=1500)

    assert min(accepted, refused) > 150


@pytest.mark.slow(part="hostile")
@pytest.mark.parametrize("which", ["artifact", "followed"])
@pytest.mark.parametrize("seed", range(2, 10))
def test_kernels_keep_to_their_operands_for_long(which, request, seed):
    accepted, _ = steer(request.getfixturevalue(which), HOST.cpu.isa, seed, turns=100_000)

    assert accepted > 10_000
