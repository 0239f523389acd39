"""One artifact for several targets: each plan is what that target alone would get, over shared weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgesparse
from edgesparse.devices import here, targets
from edgesparse.devices.emulated import Emulated
from edgesparse.devices.local import LOCAL
from edgesparse.errors import EdgesparseError
from edgesparse.package.reader import read
from edgesparse.package.writer import write
from runtime import build
from runtime.tests.conftest import run_program
from tests.cli.models import classifier
from tests.models import ort_run

NAMES = ("rpi3", "x86-64-v3", "rpi5")
ORDER = ("x86-64-v3", "rpi5", "rpi3")
"""Those that need three features of a CPU come before the one that needs one."""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return classifier(tmp_path_factory.mktemp("several") / "model.onnx")


@pytest.fixture(scope="module")
def boards(model) -> Path:
    return edgesparse.compile(model, "rpi3,rpi4,rpi5", model.with_name("boards.esp")).artifact


@pytest.fixture(scope="module")
def report(model):
    wanted = [targets.load(name) if name == "rpi3" else name for name in NAMES]
    return edgesparse.compile(model, wanted, model.with_suffix(".esp"), sparsity=0.7, labels=list("abcde"))


def test_the_plan_that_needs_most_of_a_cpu_is_first(report):
    summary = edgesparse.inspect(report.artifact)

    assert tuple(plan.target for plan in report.plans) == tuple(plan.target for plan in summary.plans) == ORDER
    assert [plan.isa for plan in summary.plans] == ["x86_64", "aarch64", "aarch64"]
    assert [each["target"] for each in summary.manifest["plans"]] == list(ORDER)
    assert all(f"{name}: runs on" in str(summary) and f"{name}: code" in str(report) for name in ORDER)


def test_each_plan_holds_what_its_target_alone_would_get(report, model, tmp_path):
    together = read(report.artifact).programs
    size = 0
    for program, name in zip(together, ORDER, strict=True):
        path = edgesparse.compile(model, name, tmp_path / f"{name}.esp", sparsity=0.7, labels=list("abcde")).artifact
        (alone,) = read(path).programs
        assert program.images == alone.images and program.engines == alone.engines
        assert [step.kernel for step in program.steps] == [step.kernel for step in alone.steps]
        assert constants(program) == constants(alone)
        size += len(alone.weights) + len(alone.indices)

    assert report.weights_bytes < size


def constants(program) -> list[bytes]:
    """The bytes that each argument which is a weight or an index names."""
    sections = {1: program.weights, 3: program.indices}
    args = [arg for step in program.steps for arg in step.args if arg.space in sections]
    return [sections[arg.space][arg.offset_bytes : arg.offset_bytes + arg.size_bytes] for arg in args]


def test_every_plan_is_verified(report, model):
    if not all(Emulated(targets.load(name)).is_there() for name in ("rpi3", "x86-64-v3")):
        pytest.skip("QEMU's user emulation is not installed")

    checked = edgesparse.verify(report.artifact, model)

    assert checked.agrees and checked.notes == ()
    assert [plan.target for plan in checked.plans] == list(ORDER)
    assert all(plan.layers and all(layer.agrees for layer in plan.layers) for plan in checked.plans)
    assert all((f"not on {plan.target}" in plan.where) or not plan.where for plan in checked.plans)


def test_a_plan_that_computes_something_else_is_found(report, model, tmp_path):
    """The weights of one plan alone: those of its own form."""
    found = read(report.artifact)
    alone = [
        {arg for step in program.steps for arg in step.args if arg.space == 1 and arg.size_bytes > 1000}
        for program in found.programs
    ]
    (victim, *_) = [arg for arg in alone[0] if all(arg.offset_bytes != other.offset_bytes for other in alone[1])]
    weights = bytearray(found.programs[0].weights)
    weights[victim.offset_bytes : victim.offset_bytes + victim.size_bytes] = bytes(victim.size_bytes)
    damaged = [replace(program, weights=bytes(weights)) for program in found.programs]
    write(damaged, found.manifest, tmp_path / "damaged.esp")

    if LOCAL.refuses(tmp_path / "damaged.esp") and not Emulated(targets.load("x86-64-v3")).is_there():
        pytest.skip("nothing runs that plan here")
    checked = edgesparse.verify(tmp_path / "damaged.esp", model, layers=False)

    assert not checked.agrees
    assert not next(plan for plan in checked.plans if plan.target == "x86-64-v3").agrees


def test_a_plan_that_nothing_runs_here_is_told_and_the_others_are_verified(report, model, monkeypatch):
    if LOCAL.refuses(report.artifact):
        pytest.skip("this machine runs none of them")
    monkeypatch.setattr(Emulated, "is_there", lambda self: False)

    checked = edgesparse.verify(report.artifact, model, layers=False)

    assert checked.agrees and 1 <= len(checked.plans) < 3
    left = [name for name in ORDER if name not in [plan.target for plan in checked.plans]]
    told = dict(zip(left, checked.notes, strict=True))
    for target, note in told.items():
        assert note.startswith(f"{target} is not verified: ") and "install qemu-user" in note and "/" not in note


def test_one_that_this_machine_runs_is_run_by_it(report, model):
    if LOCAL.refuses(report.artifact):
        pytest.skip("this machine runs none of them")
    image = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)

    answer = edgesparse.classify(report.artifact, {"image": image})

    assert answer.where == "" and len(answer.top) == 5
    sparse = edgesparse.prune(model, model.with_name("sparse.onnx"), sparsity=0.7)
    (expected,) = ort_run(sparse.output, {"image": image})
    np.testing.assert_allclose(answer.outputs["scores"], expected, rtol=1e-3, atol=1e-4)


def test_the_command_line_takes_names_after_commas(command, model):
    made = command("compile", model, "--target", "rpi3,rpi4", "--json")
    shown = command("inspect", "model.rpi3+rpi4.esp", "--code", "code")

    done = json.loads(made.stdout)
    assert done["artifact"] == "model.rpi3+rpi4.esp" and [plan["target"] for plan in done["plans"]] == ["rpi3", "rpi4"]
    assert "model.onnx for rpi3, rpi4" in shown.stdout


@pytest.mark.parametrize(
    ("wanted", "options", "words"),
    [
        ("rpi4,rpi4", {}, "target: got rpi4, rpi4, expected different targets"),
        ("rpi4,", {}, "unknown target ''"),
        ("rpi4,rpi6", {}, "unknown target 'rpi6', did you mean 'rpi"),
        ([], {}, r"target: got \[\], expected 1 to 29 targets"),
        (None, {}, "target: got None, expected 1 to 29 targets"),
        (["rpi4"] * 30, {}, "expected 1 to 29 targets"),
        (["rpi3", "rpi4,rpi5"], {}, "got 'rpi4,rpi5', expected one target"),
        ("a" * 300, {}, "unknown target 'aaaa"),
        ("rpi4,mine.toml", {}, "mine.toml: cannot be read"),
        ("\0", {}, "unknown target"),
        ("rpi3,rpi4", {"latency": "3ms"}, "a budget holds for one target, got rpi3, rpi4"),
        ("rpi3,rpi4", {"speedup": 2.0}, "a budget holds for one target"),
    ],
)
def test_targets_that_make_no_sense_together_are_refused(model, wanted, options, words, tmp_path):
    with pytest.raises(EdgesparseError, match=words) as err:
        edgesparse.compile(model, wanted, tmp_path / "model.esp", **options)

    assert "\n" not in str(err.value) and not list(tmp_path.iterdir())


def test_commands_that_take_one_target_say_so(command, model):
    for words in (("explain", model), ("tune",), ("runtime", "-o", "board")):
        done = command(*words, "--target", "rpi3,rpi4")
        assert done.returncode == 1 and "expected one target" in done.stderr


@pytest.mark.parametrize("board", ["rpi3", "rpi4", "rpi5"])
def test_a_board_takes_its_own_plan(boards, board):
    device = Emulated(targets.load(board))
    if not device.is_there():
        pytest.skip("QEMU's user emulation is not installed")

    shown = run_program(device.emulator, "-cpu", device.cpu, build.esrun("aarch64"), boards)

    order = [plan.target for plan in edgesparse.inspect(boards).plans]
    assert order == ["rpi5", "rpi3", "rpi4"]
    assert f"plan {order.index(board) + 1} of 3" in shown.stdout.splitlines()


def test_targets_in_memory_are_held_to_what_a_file_may_say(model, tmp_path):
    board = targets.load("rpi4")
    revised = replace(board.cpu, midr=0x410FD083)
    wrong = (replace(board, name="a\nb"), replace(board, name="a,b"), replace(board, cpu=revised))
    for target in wrong:
        with pytest.raises(EdgesparseError, match="expected") as err:
            edgesparse.compile(model, target, tmp_path / "model.esp")
        assert "\n" not in str(err.value)


def test_a_plan_for_any_core_comes_before_one_that_is_tuned_for_another():
    named = targets.load_all("rpi4, android-arm64")
    assert [target.name for target in named] == ["rpi4", "android-arm64"]
    assert [target.name for target in targets.ranked(named)] == ["android-arm64", "rpi4"]
    doubled = replace(targets.load("rpi4"), name="mine")
    doubled = replace(doubled, cpu=replace(doubled.cpu, requires=("neon",) * 4))
    assert [target.name for target in targets.ranked(targets.load_all([doubled, "rpi5"]))] == ["rpi5", "mine"]


def test_a_recipe_names_several(command, model, tmp_path):
    (tmp_path / "recipe.yaml").write_text("target: [rpi3, mine.toml]\n")
    (tmp_path / "mine.toml").write_text((targets.folder() / "rpi4.toml").read_text().replace('"rpi4"', '"mine"', 1))

    done = command("compile", model, "--recipe", "recipe.yaml", "-o", "model.esp", "--json")

    assert done.returncode == 0, done.stderr
    assert [plan["target"] for plan in json.loads(done.stdout)["plans"]] == ["rpi3", "mine"]


@pytest.fixture
def foreign(monkeypatch):
    """This machine runs nothing."""
    monkeypatch.setattr(type(LOCAL), "refuses", lambda self, artifact: f"{artifact}: compiled for another CPU")


def kept(found, path: Path, *facts: dict | None) -> Path:
    """The artifact with other records of its plans."""
    records = [dict(each) if facts[n] is None else facts[n] for n, each in enumerate(found.manifest["plans"])]
    write(found.programs, {**found.manifest, "plans": records}, path)
    return path


def test_the_plan_that_is_emulated_is_one_that_its_board_runs(boards, foreign, tmp_path):
    if not Emulated(targets.load("rpi3")).is_there():
        pytest.skip("QEMU's user emulation is not installed")
    found = read(boards)

    without_first = edgesparse.classify(kept(found, tmp_path / "a.esp", {}, None, None))

    assert "not on rpi3" in without_first.where
    swapped = [found.manifest["plans"][1], found.manifest["plans"][0], None]
    with here.device_of(kept(found, tmp_path / "b.esp", *swapped)).open(tmp_path / "b.esp") as session:
        assert [each["target"] for each in session.manifest["plans"]] == ["rpi5"]  # a Cortex-A53 runs none but its own


def test_facts_of_another_instruction_set_are_refused(report, foreign, tmp_path):
    found = read(report.artifact)
    x86, rpi5, _ = found.manifest["plans"]

    with pytest.raises(EdgesparseError, match="are of aarch64, the code is for x86_64; compile the model again") as err:
        edgesparse.run(kept(found, tmp_path / "a.esp", rpi5, x86, x86))

    assert "\n" not in str(err.value)
