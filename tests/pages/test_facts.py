"""Work, roof and arena of kernel calls, against counts by hand and against every byte followed by itself."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import edgesparse
from edgesparse import pages
from edgesparse.devices import targets
from edgesparse.pages.arena import MOST_STEPS, used_bytes
from edgesparse.pages.facts import Roof, Work, roof_of
from edgesparse.program import Arg, Engine, Program, Space, Step, TensorSpec


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """A 3x3 convolution of 8 channels to 16, a depthwise one, and a linear layer with three quarters of zeros."""
    rng = np.random.default_rng(0)
    weights = {"conv": (16, 8, 3, 3), "each": (16, 1, 3, 3), "head": (576, 40)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in weights.items()}
    arrays["head"][:, 10:] = 0
    nodes = [
        helper.make_node("Conv", ["x", "conv"], ["a"], name="conv", pads=[1] * 4),
        helper.make_node("Conv", ["a", "each"], ["b"], name="each", group=16, pads=[1] * 4),
        helper.make_node("Flatten", ["b"], ["c"], name="flat"),
        helper.make_node("MatMul", ["c", "head"], ["y"], name="head"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 8, 6, 6))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 40))],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    path = tmp_path_factory.mktemp("facts") / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return edgesparse.compile(path, "rpi4,rpi5", path.with_suffix(".esp"), witness=False).artifact


def test_the_work_of_an_artifact_is_what_a_hand_counts(artifact):
    facts = pages.of_artifact(artifact)

    found = {step.name: step for step in facts.steps}
    assert found["conv"].work.multiply_adds == 16 * 8 * 9 * 6 * 6
    assert found["each"].work.multiply_adds == 16 * 9 * 6 * 6
    assert found["head"].work.multiply_adds == (576 * 10 if found["head"].kind == "sparse" else 576 * 40)
    assert found["head"].density == pytest.approx(0.25) and found["head"].types == "f32"
    assert found["each"].kind == "other" and found["each"].density is None
    assert found["each"].work.moved_bytes >= 4 * (2 * 16 * 6 * 6 + 16 * 9)
    assert facts.model == "m.onnx" and facts.file_bytes == artifact.stat().st_size


def test_the_kernels_that_ran_tell_the_plan(artifact):
    first = pages.of_artifact(artifact)
    other = next(target for target in ("rpi4", "rpi5") if target != first.target)
    from edgesparse.package.reader import read

    names = [[step.kernel for step in program.steps] for program in read(artifact).programs]

    assert {pages.of_artifact(artifact, kernels).target for kernels in names} == {first.target, other}
    assert pages.of_artifact(artifact, ["unknown"]).target == first.target


def test_the_roof_is_clock_times_multiply_adds_of_a_cycle():
    """A Cortex-A72 starts one multiply-add of four floats in a cycle, a Cortex-A76 two."""
    rpi4, rpi5 = (targets.load(name).cpu for name in ("rpi4", "rpi5"))

    assert roof_of(rpi4, 1) == Roof(1.5e9 * 4, 12.8e9)
    assert roof_of(rpi5, 3).multiply_adds_per_s == 2.4e9 * 2 * 4 * 3
    assert roof_of(rpi4, 64).multiply_adds_per_s == 4 * 1.5e9 * 4
    assert "do not tell the clock and the core's pipes" in roof_of(targets.load("x86-64-v3").cpu, 1).why


BOUND = [((100, 1), "compute", 100), ((1, 100), "memory", 200), ((None, 9), "", None)]


@pytest.mark.parametrize(("work", "bound", "us"), BOUND)
def test_what_a_layer_is_bound_by(work, bound, us):
    roof = Roof(1e6, 0.5e6)

    assert roof.bound(Work(*work)) == bound
    assert roof.least_us(Work(*work)) == us
    assert Roof().bound(Work(*work)) == "" and Roof().least_us(Work(*work)) is None


def program(places, inputs=(), outputs=()):
    """Steps with operands in the arena, the last of which each step writes."""
    steps = [Step("s", "Op", "k", 0, 1, tuple(Arg(Space.ARENA, *place) for place in step)) for step in places]
    specs = [[TensorSpec("t", "uint8", (size,), offset) for offset, size in each] for each in (inputs, outputs)]
    return Program((Engine(4096, 0),), (), *map(tuple, specs), tuple(steps), b"")


def byte_by_byte(made, size):
    """For every byte, the steps from each write to the last read before the next write."""
    used = np.zeros((len(made.steps), size), bool)
    inputs, outputs = (
        {at for spec in specs for at in range(spec.offset_bytes, spec.offset_bytes + spec.shape[0])}
        for specs in (made.inputs, made.outputs)
    )
    for byte in range(size):
        touched = [[0 <= byte - each.offset_bytes < each.size_bytes for each in step.args] for step in made.steps]
        born = last = 0 if byte in inputs else None
        for at, step in enumerate(touched):
            if any(step[:-1]):
                born, last = at if born is None else born, at
            if step and step[-1]:
                if born is not None:
                    used[born : last + 1, byte] = True
                born = last = at
        if byte in outputs:
            last = len(made.steps) - 1
            born = last if born is None else born
        if born is not None:
            used[born : last + 1, byte] = True
    return tuple(int(count) for count in used.sum(axis=1))


@pytest.mark.parametrize("seed", range(8))
def test_the_arena_in_use_is_what_every_byte_says(seed):
    rng = np.random.default_rng(seed)

    def place():
        return int(rng.integers(0, 48)), int(rng.integers(1, 16))

    made = program([[place() for _ in range(rng.integers(1, 4))] for _ in range(12)], [place()], [place()])

    assert used_bytes(made) == byte_by_byte(made, 64)


def test_a_chain_holds_what_it_reads_and_what_it_writes():
    made = program([[(0, 100), (128, 50)], [(128, 50), (0, 30)], [(0, 30), (64, 8)]], [(0, 100)], [(64, 8)])

    assert used_bytes(made) == (150, 80, 38)


def test_the_arena_of_an_artifact_is_never_larger_than_what_was_planned(artifact):
    facts = pages.of_artifact(artifact)

    assert len(facts.used_bytes) == len(facts.steps) and 0 < max(facts.used_bytes) <= facts.arena_bytes


def test_programs_without_steps_or_with_too_many_have_no_figures():
    assert used_bytes(program([])) == () and used_bytes(program([[(0, 1)]] * (MOST_STEPS + 1))) == ()
