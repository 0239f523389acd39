"""Of an artifact with several plans a machine takes the best that it runs; which it took shows in what it computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from edgesparse_runtime import EdgesparseRuntimeError, Model

from edgesparse.errors import PackageError
from edgesparse.package import records
from edgesparse.package.reader import parse
from edgesparse.package.sharing import shared
from edgesparse.package.writer import serialize
from edgesparse.program import Program
from runtime import build
from runtime.tests import samples
from runtime.tests.conftest import launcher, run_program
from runtime.tests.hostile import Editor

TILES = 7
A53, A72, A76 = 0x4100D030, 0x4100D080, 0x4100D0B0
LACKING = {"x86_64": "vfp4", "aarch64": "avx2", "armv7": "avx2"}
"""A feature that no CPU of an instruction set has."""


def plan(isa: str, adds: int, features: tuple[str, ...] = (), core: int = 0) -> Program:
    """A plan that adds a number to its input."""
    program = samples.counting_model(isa, TILES, adds).program
    (image,) = program.images
    return replace(program, images=(replace(image, cpu_features=features, core=core),))


def added(artifact: bytes) -> tuple[int, int]:
    """What this machine adds with an artifact, and the plan that the runtime says it took."""
    counts = np.arange(TILES, dtype=np.int32)
    with Model(artifact) as model:
        (difference,) = set((model.run({"counts": counts})["counts"] - counts).tolist())
        return difference, model.plan


def foreign(host: str) -> str:
    """An instruction set that is not this machine's."""
    return next(isa for isa in build.PLATFORMS if isa != host)


def test_the_first_that_runs_is_taken(host):
    other, lacking = plan(foreign(host), 1), plan(host, 2, (LACKING[host],))

    assert added(serialize([other, lacking, plan(host, 3), plan(host, 4)], {})) == (3, 2)
    assert added(serialize([plan(host, 3), lacking, other], {})) == (3, 0)


def test_a_core_that_is_not_this_ones_is_no_reason(host):
    assert added(serialize([plan(host, 1, core=0x4200F000), plan(host, 2)], {})) == (1, 0)


@pytest.mark.parametrize(
    ("cpu", "expected"), [("cortex-a53", 3), ("cortex-a72", 2), ("cortex-a76", 1), ("cortex-a57", 2), ("max", 1)]
)
def test_the_plan_that_was_tuned_for_the_core_is_preferred(cpu, expected, tmp_path):
    plans = [plan("aarch64", 1, ("neon", "dotprod"), A76), plan("aarch64", 2, ("neon",), A72)]
    plans.append(plan("aarch64", 3, ("neon",), A53))
    (tmp_path / "model.esp").write_bytes(serialize(plans, {}))
    np.save(tmp_path / "x.npy", np.zeros(TILES, np.int32))
    emulator = launcher("aarch64")
    if not emulator:
        pytest.skip("this machine is aarch64, and has the core it has")

    result = run_program(
        *emulator,
        *("-cpu", cpu),
        build.esrun("aarch64"),
        tmp_path / "model.esp",
        *("--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"),
    )

    assert result.returncode == 0, result.stderr
    assert np.load(tmp_path / "y.npy").tolist() == [expected] * TILES


def test_where_none_runs_the_error_says_so(host):
    artifact = serialize([plan(foreign(host), 1), plan(host, 2, (LACKING[host],))], {})

    for plans in (artifact, serialize([plan(host, 2, (LACKING[host],)), plan(foreign(host), 1)], {})):
        with pytest.raises(EdgesparseRuntimeError, match=f"none of the 2 plans .* needs {LACKING[host]}, which") as err:
            Model(plans)
        assert err.value.status == "ES_ERR_CPU"


def second_plan(editor: Editor) -> int:
    """Offset of the second plan's content."""
    start = records.PREAMBLE.size
    kinds = [int.from_bytes(editor.data[at : at + 4], "little") for at in range(start, start + 64 * 5, 64)]
    entry = start + 64 * [number for number, kind in enumerate(kinds) if kind == records.SectionKind.PLAN][1]
    return int.from_bytes(editor.data[entry + 8 : entry + 16], "little")


ENGINE, IMAGE = records.PLAN.size, records.PLAN.size + records.ENGINE.size


def damaged(host: str, field: int, value: int, minor: int = 0, *, first: bool = False) -> bytes:
    """Two plans, of which the second, or the first, has another number at an offset."""
    editor = Editor(serialize([plan(host, 1), plan(host, 2)], {}))
    editor.put(10, "H", minor)
    editor.put((editor.plan if first else second_plan(editor)) + field, "I", value)
    editor.rehash()
    return bytes(editor.data)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (124, 1, "reserved"),
        (0, 3, "tables need"),
        (IMAGE + 16, 0, "no code section"),
        (ENGINE + 60, 1, "reserved"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused_whichever_is_taken(host, field, value, words):
    with pytest.raises(EdgesparseRuntimeError, match=words) as err:
        Model(damaged(host, field, value))

    assert err.value.status == "ES_ERR_INVALID"


@pytest.mark.parametrize(("field", "value"), [(ENGINE, 1), (IMAGE + 4, 9), (IMAGE + 12, 1 << 31)])
def test_a_plan_for_what_is_not_known_leaves_the_others(host, field, value):
    """An engine, an instruction set, a feature of a newer version."""
    assert added(damaged(host, field, value)) == (1, 0)


TENSOR = IMAGE + records.IMAGE.size
STEP = TENSOR + 2 * records.TENSOR.size


@pytest.mark.parametrize(("field", "value"), [(ENGINE, 1), (IMAGE + 4, 9), (TENSOR + 4, 99), (STEP + 12, 1)])
def test_the_best_plan_may_ask_for_more_than_is_known(host, field, value):
    """An engine, an instruction set, an element type, a kind of step."""
    assert added(damaged(host, field, value, first=True)) == (2, 1)


@pytest.mark.parametrize(
    ("field", "value"), [(124, 1), (8, 4097), (ENGINE + 12, 1 << 8), (ENGINE + 60, 1), (TENSOR + 92, 1), (STEP + 60, 1)]
)
@pytest.mark.parametrize("first", [True, False])
def test_in_a_newer_version_so_it_is_with_fields_and_limits(host, field, value, first):
    """Reserved fields of the header, an engine, a tensor and a step; more inputs; a larger arena."""
    assert added(damaged(host, field, value, minor=records.MINOR + 1, first=first)) == ((2, 1) if first else (1, 0))
    with pytest.raises(EdgesparseRuntimeError):
        added(damaged(host, field, value, first=True))


def test_what_only_a_newer_version_knows_is_told_from_damage(host):
    editor = Editor(serialize([plan(host, 1)], {}))
    editor.put(10, "H", 3)
    editor.put(editor.engine + 60, "I", 1)
    editor.rehash()
    with pytest.raises(EdgesparseRuntimeError, match=r"version 2\.3, this runtime knows 2\.1 .*newer runtime") as err:
        Model(bytes(editor.data))

    assert err.value.status == "ES_ERR_UNSUPPORTED"
    with pytest.raises(PackageError, match=r"version 2\.3, this edgesparse knows 2\.1 .*update edgesparse"):
        parse(damaged(host, ENGINE + 60, 1, minor=3))


def test_a_newer_minor_version_opens_where_nothing_in_it_is_new(host):
    editor = Editor(serialize([plan(host, 5)], {}))
    editor.put(10, "H", 7)
    editor.rehash()

    assert added(bytes(editor.data)) == (5, 0)
    assert parse(bytes(editor.data)).version == (2, 7)


def test_equal_arrays_of_two_programs_are_stored_once(host):
    first, second, again = (samples.sparse_model(host, seed=seed) for seed in (0, 1, 0))

    one, two, three = shared([first.program, second.program, again.program])

    assert one.weights == two.weights == three.weights and one.indices == two.indices
    assert one == three
    assert len(one.weights) == len(first.program.weights) + len(second.program.weights) + 256
    for sample, number in ((first, 0), (second, 1)):
        programs = [one, two] if number == 0 else [two, one]
        artifact = serialize(programs, {})
        assert parse(artifact).programs == tuple(programs)
        with Model(artifact) as model:
            outputs = model.run(sample.inputs)
        for name, expected in sample.outputs.items():
            np.testing.assert_allclose(outputs[name], expected, rtol=1e-5, atol=1e-5)


def test_an_arena_that_another_machine_has_room_for_is_no_matter(tmp_path):
    large = plan("aarch64", 1)
    large = replace(large, engines=(replace(large.engines[0], arena_bytes=(1 << 30) + 64),))
    (tmp_path / "model.esp").write_bytes(serialize([large, plan("armv7", 2)], {}))
    np.save(tmp_path / "x.npy", np.zeros(TILES, np.int32))

    done = run_program(
        *launcher("armv7"),
        build.esrun("armv7"),
        tmp_path / "model.esp",
        *("--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"),
    )

    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "y.npy").tolist() == [2] * TILES


def test_programs_that_take_other_inputs_are_no_artifact(host):
    other = samples.counting_model(host, TILES + 1, 1).program

    with pytest.raises(PackageError, match="plan 1: has other inputs or outputs than plan 0"):
        serialize([plan(host, 1), other], {})


@pytest.mark.parametrize("manifest", [b"[]", b"7", b"null", b'"x"'])
def test_a_manifest_that_is_no_object_is_told_when_it_is_asked_for(host, manifest):
    editor = Editor(serialize([plan(host, 1)], {"a": "b" * 9}))
    size = editor.section(records.SectionKind.MANIFEST) + 16
    editor.put(editor.content(records.SectionKind.MANIFEST), f"{len(manifest)}s", manifest)
    editor.put(size, "Q", len(manifest))
    editor.rehash()

    with Model(bytes(editor.data)) as model, pytest.raises(EdgesparseRuntimeError, match="is not a JSON object"):
        model.manifest  # noqa: B018
