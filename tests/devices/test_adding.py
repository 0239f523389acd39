"""A board that is in no list becomes a target. LLVM, the shipped targets, numpy and ONNX Runtime judge."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest

import edgesparse
from edgesparse.devices import bandwidth, describing, facts, targets
from edgesparse.devices.cores import of_one_kind
from edgesparse.devices.describing import Description
from edgesparse.devices.llvm_cpus import llvm_cpu
from edgesparse.devices.parts import ARM, QUALCOMM
from edgesparse.devices.remote import Remote
from edgesparse.errors import EdgesparseError, MeasureError, TargetError
from edgesparse.tables import Table
from tests.devices import boards
from tests.devices.boards import BOARD, Tree, cpuinfo, phone, pi4, plant

TODAY = "2026-12-01"


def caches(number: int, *sizes: tuple[str, str, str]) -> Tree:
    """What a kernel tells of a core's caches: level, type and size of each."""
    folder = f"sys/devices/system/cpu/cpu{number}/cache/index"
    return {
        f"{folder}{index}/{name}": f"{text}\n"
        for index, each in enumerate(sizes)
        for name, text in zip(("level", "type", "size"), each, strict=True)
    }


@pytest.fixture
def describe(tmp_path):
    """The description of a tree of files."""

    def made(tree: Tree, machine: str = "aarch64", cores: str | None = None) -> Description:
        shutil.rmtree(tmp_path / "told", ignore_errors=True)
        script = f"{boards.functions(plant(tree, tmp_path / 'told'), machine)}\n{facts.script()}"
        printed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False).stdout
        told = facts.parse(printed)
        kind, numbers = of_one_kind(cores, told.cores, BOARD)
        return describing.described("mine", told, kind, len(numbers), BOARD, TODAY)

    return made


def test_a_raspberry_pi_tells_what_the_target_of_a_raspberry_pi_says(describe):
    known = targets.load("rpi4").cpu

    found = describe(pi4())

    assert found.target.cpu == replace(known, clock_hz=1_800_000_000, bandwidth_bytes_per_s=None)
    assert found.target.summary == "Raspberry Pi 4 Model B Rev 1.4, 4 x Cortex-A72"
    assert found.target.source == f"reported by {BOARD} on {TODAY}; caches assumed as in rpi4"
    assert set(found.assumed) == {"l1d_bytes", "l2_bytes", "core"}


def test_caches_are_those_that_the_kernel_lists(describe):
    listed = (("1", "Data", "64K"), ("1", "Instruction", "48K"), ("2", "Unified", "256K"), ("3", "Unified", "4096K"))

    found = describe({"proc/cpuinfo": cpuinfo([0xD0D] * 2, boards.DOTPROD), **caches(0, *listed)})
    cpu = found.target.cpu

    assert (cpu.l1d_bytes, cpu.l2_bytes, cpu.l3_bytes) == (64 * 1024, 256 * 1024, 4096 * 1024)
    assert found.target.source == f"reported by {BOARD} on {TODAY}" and found.assumed == {}
    assert (cpu.midr, cpu.llvm_name, cpu.core) == (0x4100D0D0, "cortex-a77", None)


def test_a_core_without_a_second_cache_of_its_own_has_the_shared_one(describe):
    listed = (("1", "Data", "32K"), ("3", "Unified", "1024K"))

    cpu = describe({"proc/cpuinfo": cpuinfo([0xD05], boards.DOTPROD), **caches(0, *listed)}).target.cpu

    assert (cpu.l1d_bytes, cpu.l2_bytes, cpu.l3_bytes) == (32 * 1024, 1024 * 1024, None)


@pytest.mark.parametrize(
    ("cores", "llvm_name", "count", "clock_hz"),
    [
        (None, "cortex-a77", 4, 2_841_600_000),
        ("big", "cortex-a77", 4, 2_841_600_000),
        ("4-6", "cortex-a77", 3, 2_419_200_000),
        ("little", "cortex-a55", 4, 1_804_800_000),
    ],
)
def test_a_target_is_of_cores_of_one_kind(describe, cores, llvm_name, count, clock_hz):
    cpu = describe(phone(), cores=cores).target.cpu

    assert (cpu.llvm_name, cpu.cores, cpu.clock_hz) == (llvm_name, count, clock_hz)
    assert cpu.requires == ("neon", "dotprod", "fp16")
    assert cpu.features == ("+neon", "+dotprod", "+fullfp16")


def test_cores_of_several_kinds_are_no_target(describe):
    with pytest.raises(MeasureError, match=r"got '3-4', but on .* several kinds \(Cortex-A55, Cortex-A77\); name one"):
        describe(phone(), cores="3-4")


def test_the_biggest_cores_are_taken_where_there_are_three_kinds(describe):
    tree = {"proc/cpuinfo": cpuinfo([0xD05] * 4 + [0xD41] * 3 + [0xD44], boards.DOTPROD)}
    tree |= {f"sys/devices/system/cpu/cpu{n}/cpu_capacity": str(300 + 100 * n) for n in (4, 5, 6, 7)}
    tree |= {f"sys/devices/system/cpu/cpu{n}/cpu_capacity": "200" for n in range(4)}

    cpu = describe(tree).target.cpu

    assert (cpu.llvm_name, cpu.cores) == ("cortex-x1", 1)


def test_a_core_that_nobody_knows_is_generic(describe):
    found = describe({"proc/cpuinfo": cpuinfo([0xFFF] * 2, implementer=0x99)})
    generic = targets.load("android-arm64")

    assert (found.target.cpu.llvm_name, found.target.cpu.midr) == ("generic", 0x9900FFF0)
    assert (found.target.cpu.l1d_bytes, found.assumed["l1d_bytes"]) == (generic.cpu.l1d_bytes, "android-arm64")


def added_rows(place, monkeypatch, tmp_path, tree: Tree) -> dict[str, tuple[str, str]]:
    """What `targets add` prints of a board, without its memory's bandwidth: value and origin of each fact."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bandwidth, "buffer_bytes", lambda *_: None)
    place(boards.shell(plant(tree, tmp_path / "board")))
    table = next(part for part in edgesparse.add_target("mine", BOARD).parts() if isinstance(part, Table))
    return {fact: (value, origin) for fact, value, origin in table.rows}


def test_what_a_board_does_not_tell_is_not_called_reported(place, monkeypatch, tmp_path):
    rows = added_rows(place, monkeypatch, tmp_path, {"proc/cpuinfo": cpuinfo([0xFFF] * 2, implementer=0x99)})

    assert rows["clock"] == ("unknown", "not reported")
    assert rows["core for LLVM"] == ("generic", "assumed as in android-arm64")
    assert rows["L2"][1] == "assumed as in android-arm64" and rows["code"] == ("aarch64", "reported")


def test_features_that_no_target_needs_are_told(place, monkeypatch, tmp_path):
    odd = "fp asimd i8mm sve2 zz_new " + "\x1b[31m " + "x" * 99
    rows = added_rows(place, monkeypatch, tmp_path, pi4() | {"proc/cpuinfo": cpuinfo([0xD08] * 4, odd)})

    assert rows["features"] == ("neon", "reported")
    assert rows["features, unused"] == ("i8mm, sve2, fp, zz_new", "reported")


def test_a_pc_is_as_its_level(describe):
    flags = "flags: avx avx2 fma f16c\nprocessor: 0\nmodel name: A CPU\nprocessor: 1\nmodel name: A CPU\n"

    cpu = describe({"proc/cpuinfo": flags}, "x86_64").target.cpu

    assert cpu == replace(targets.load("x86-64-v3").cpu, cores=2)


ARM_CORES = [(ARM, part) for part in range(0x1000)] + [(QUALCOMM, part) for part in range(0x1000)]


@pytest.mark.parametrize("isa", ["aarch64", "armv7"])
@pytest.mark.parametrize("requires", [{"neon", "vfp4"}, {"neon", "dotprod", "fp16"}])
def test_no_name_lets_llvm_use_more_than_an_artifact_states(isa, requires):
    """LLVM says which features a name implies; those are listed that change the code of loops over numbers."""
    import tvm

    from edgesparse.backends.cpu.llvm import _cpus

    triple = "aarch64-linux-gnu" if isa == "aarch64" else "armv7-linux-gnueabihf"
    names = {llvm_cpu(isa, who << 24 | part << 4, requires) for who, part in ARM_CORES} - {None}
    implied = {
        str(feature)
        for name in names
        for feature in tvm.get_global_func("target.llvm_get_cpu_features")(
            tvm.target.Target({"kind": "llvm", "mtriple": triple, "mcpu": name})
        )
    }

    assert len(names) >= 3 and names <= set(_cpus(triple))
    assert implied.isdisjoint({"sve", "sve2", "sme", "i8mm", "bf16", "complxnum", "v8.3a", "v9a"})
    assert ("dotprod" in implied) == ("dotprod" in requires and isa == "aarch64")
    assert "fullfp16" not in implied or "fp16" in requires


@pytest.mark.parametrize(
    ("tree", "machine", "words"),
    [
        ({}, "aarch64", "does not tell its cores"),
        (pi4(), "sparc", "is a sparc, expected x86_64, aarch64, armv7"),
        ({"proc/cpuinfo": cpuinfo([0xC09] * 2, "half thumb neon vfpv3")}, "armv7l", "lacks vfp4, which code for armv7"),
        (pi4() | caches(0, ("1", "Data", "64K"), ("2", "Unified", "4K")), "aarch64", "l2_bytes: got 4096, expected at"),
        (pi4() | caches(0, ("1", "Data", "999999999K")), "aarch64", "memory.l1d_bytes: got 1023999998976, expected a"),
        (pi4() | boards.clocks(range(4), 1, 999_999_999_999), "aarch64", "cpu.clock_hz: got 999999999999000, expected"),
        ({"proc/cpuinfo": cpuinfo([0] * 2, implementer=0)}, "aarch64", "cpu.midr: got 0, expected a number from 1"),
        (phone(), "aarch64", "esrun"),  # what is copied there cannot be run
    ],
)
def test_a_device_that_tells_nonsense_is_one_line_and_no_file(place, tmp_path, monkeypatch, tree, machine, words):
    monkeypatch.chdir(tmp_path)
    more = 'exec() { echo "{}"; echo esrun says no; }'
    place(boards.shell(plant(tree, tmp_path / "board"), machine, more=more))

    with pytest.raises(EdgesparseError, match=f"^{BOARD}: ") as err:
        edgesparse.add_target("mine", BOARD)

    assert words in str(err.value) and "\n" not in str(err.value)
    assert not [*tmp_path.glob("*.toml")]


@pytest.mark.parametrize(
    "answer",
    [
        '{"bytes_per_s": 1}',
        '{"bytes_per_s": 1e400}',
        '{"bytes_per_s": null}',
        "{}",
        "[]",
        "5",
        "[" * 9000,
        '{"error": 1}',
    ],
)
def test_a_bandwidth_that_cannot_be_is_one_line_and_no_file(place, tmp_path, monkeypatch, answer):
    monkeypatch.chdir(tmp_path)
    more = f"exec() {{ echo '{{\"esrun\": 1}}'; echo {shlex.quote(answer)}; command exec cat; }}"
    place(boards.shell(plant(pi4(), tmp_path / "board"), more=more))

    with pytest.raises(MeasureError, match=f"^{BOARD}: ") as err:
        edgesparse.add_target("mine", BOARD)

    assert "\n" not in str(err.value) and len(str(err.value)) < 200
    assert not [*tmp_path.glob("*.toml")]


@pytest.mark.parametrize("name", ["rpi4", "host", "a,b", "../a", "", "mine.toml", "-x"])
def test_a_name_that_no_target_may_have_is_refused(name):
    with pytest.raises(TargetError, match=r"^name: got "):
        edgesparse.add_target(name, BOARD)


def test_only_a_target_is_overwritten(tmp_path):
    """Before the device is asked anything: there is none."""
    (tmp_path / "notes.toml").write_text("mine\n")
    (tmp_path / "costs.toml").write_text('schema = 1\ntarget = "mine"\n')

    for name, words in (("notes.toml", "holds something else"), ("costs.toml", "a cost table"), ("a.txt", "'.txt'")):
        with pytest.raises(EdgesparseError, match=words):
            edgesparse.add_target("mine", BOARD, tmp_path / name)


def test_a_target_needs_a_device(command):
    done = command("targets", "add", "mine")

    assert done.returncode == 2 and "needs --on DEVICE" in done.stderr


def test_an_added_target_compiles_and_what_it_compiles_runs_there(folder, command, model, tmp_path, monkeypatch):
    """The board is this machine, whose caches are told; the memory is read in a buffer that is small for it."""
    monkeypatch.setattr(bandwidth, "MOST_BYTES", bandwidth.LEAST_BYTES)
    monkeypatch.setattr(bandwidth, "LEAST_TIMES", 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text("schema = 1\nname = 'mine'\n")

    added = edgesparse.add_target("mine", BOARD)
    loaded = edgesparse.load_target("mine.toml")

    assert loaded == added.target == edgesparse.load_target("./mine.toml")
    assert loaded.cpu.bandwidth_bytes_per_s and loaded.cpu.core_bandwidth_bytes_per_s
    assert "next: edgesparse tune --target mine.toml --on pi@board" in str(added)
    made = edgesparse.compile(model, "./mine.toml", tmp_path / "mine.esp").artifact
    given = boards.feeds(made)
    boards.expect_right(edgesparse.run(made, given, on=BOARD), model, given)
    facts_shown = json.loads(command("targets", "show", "mine.toml", "--json").stdout)
    assert facts_shown["core_bandwidth_bytes_per_s"] == loaded.cpu.core_bandwidth_bytes_per_s


def test_a_cost_table_from_before_is_told_of(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Remote, "bandwidth", lambda *_: (10**9, 10**9))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    first = edgesparse.add_target("mine", BOARD, tmp_path / "mine.toml")
    old = targets.cached_costs(first.target)
    old.parent.mkdir(parents=True)
    shutil.copy(targets.folder() / "costs/rpi4.toml", old)

    again = edgesparse.add_target("mine", BOARD, tmp_path / "mine.toml")

    assert first.stale_costs is None and again.stale_costs == old
    assert f"warning: {old} holds costs" in str(again)
    assert edgesparse.load_target(tmp_path / "mine.toml").cost_table is not None


@pytest.mark.slow(part="boards")  # two speeds are compared
def test_memory_is_read_about_as_fast_as_numpy_copies_it(folder):
    size = 1 << 28
    one = np.ones(size // 16)
    other = np.empty_like(one)

    _, read = Remote(BOARD).bandwidth(facts.here(), size, threads=2)

    def copied() -> float:
        start = time.perf_counter()
        np.copyto(other, one)
        return size / (time.perf_counter() - start)

    assert 1 / 3 < read / max(copied() for _ in range(5)) < 3


def test_a_buffer_is_larger_than_the_caches_and_fits_the_memory():
    assert bandwidth.buffer_bytes(1 << 20, None) == 1 << 26
    assert bandwidth.buffer_bytes(32 << 20, 1 << 34) == 128 << 20
    assert bandwidth.buffer_bytes(1 << 20, 100 << 20) == 50 << 20
    assert bandwidth.buffer_bytes(32 << 20, 100 << 20) is None
    assert bandwidth.buffer_bytes(1 << 40, 1 << 45) is None


@pytest.mark.slow(part="boards")
def test_a_board_that_ssh_reaches_is_added_and_compiled_for(ssh, command, model):
    """It is emulated, so its figures mean nothing."""
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("QEMU's user emulation is not installed")
    steps = (
        ("targets", "add", "mine", "--on", "board"),
        ("compile", model, "--target", "mine.toml", "-o", "mine.esp"),
        ("run", "mine.esp", "--on", "board", "-o", "out.npz"),
    )

    done = [command(*step) for step in steps]

    assert [each.returncode for each in done] == [0] * 3, [each.stderr for each in done]
    assert "cortex-a72" in done[0].stdout and "assumed as in rpi4" in done[0].stdout


@pytest.mark.slow(part="boards")
def test_a_board_is_added_and_tuned_within_five_minutes_and_its_costs_are_found(folder, command, model, monkeypatch):
    """The board is this machine: an emulated one takes far longer than any board."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(model.parent / "own"))
    start = time.monotonic()
    done = [
        command("targets", "add", "mine", "--on", BOARD),
        command("tune", "--target", "mine.toml", "--on", BOARD),
        command("compile", model, "--target", "mine.toml", "-o", "mine.esp"),
        command("run", "mine.esp", "--on", BOARD, "-o", "out.npz"),
    ]

    assert [each.returncode for each in done] == [0] * 4, [each.stderr for each in done]
    assert time.monotonic() - start < 300
    table = edgesparse.load_target("mine.toml").cost_table
    assert table is not None and (table.target, table.origin) == ("mine", "measured") and BOARD in table.source
