"""Targets: every file is valid, the host is detected, and mistakes are explained in one line."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from edgesparse.devices import targets
from edgesparse.devices.host import detect
from edgesparse.errors import TargetError
from edgesparse.isa import ISAS

NAMED = [name for name in targets.names() if name != targets.HOST]
SHIPPED = {
    "host",
    *("x86-64-v3", "x86-64-v3-vnni", "x86-64-v4", "x86-64-v4-vnni"),
    *("rpi3", "rpi4", "rpi5", "rpi4-32bit"),
    *("android-arm64", "android-arm64-v82"),
}
X86_FLAGS = "fpu sse2 avx avx2 fma f16c avx512f avx512bw avx512dq avx512vl avx512_vnni"


def test_every_promised_target_ships():
    assert set(targets.names()) >= SHIPPED
    assert targets.names()[0] == targets.HOST


@pytest.mark.parametrize("name", NAMED)
def test_target_states_its_name_source_and_what_its_cpu_must_have(name):
    target = targets.load(name)

    assert target.name == name
    assert target.source and target.summary
    assert target.cpu.requires and set(target.cpu.requires) <= set(ISAS[target.cpu.isa].bits)
    assert target.cpu.triple.startswith(target.cpu.isa)
    assert all(feature[0] in "+-" for feature in target.cpu.features)


@pytest.mark.parametrize("name", NAMED)
def test_llvm_knows_the_cpu_and_features(name, capfd):
    from edgesparse.backends.cpu.codegen import llvm_target

    llvm_target(targets.load(name).cpu)

    assert capfd.readouterr().err == ""


def machine(folder: Path, flags: str, caches: dict[str, tuple[str, str, str]] | None = None) -> Path:
    """A made-up /proc and /sys."""
    (folder / "proc").mkdir()
    (folder / "proc/cpuinfo").write_text(
        f"processor\t: 0\nmodel name\t: Test CPU\nflags\t\t: {flags}\nFeatures\t: {flags}\n"
    )
    for index, (level, kind, size) in (caches or {}).items():
        entry = folder / "sys/devices/system/cpu/cpu0/cache" / index
        entry.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (entry / name).write_text(text + "\n")
    return folder


def host_target(root: Path, arch: str) -> targets.Target:
    table = tomllib.loads((targets.folder() / "host.toml").read_text())
    return targets.fit_host(table, "host.toml", detect(root, arch))


def test_host_is_this_machine():
    host = targets.load("host")

    assert host.name == "host"
    assert set(host.cpu.requires) <= detect().features
    assert host.cpu.cores >= 1 and host.cpu.l1d_bytes >= 8192


def test_caches_of_the_host_are_read_from_the_system(tmp_path):
    caches = {
        "index0": ("1", "Data", "48K"),
        "index1": ("1", "Instruction", "32K"),
        "index2": ("2", "Unified", "2048K"),
    }

    host = host_target(machine(tmp_path, X86_FLAGS, caches), "x86_64")

    assert (host.cpu.l1d_bytes, host.cpu.l2_bytes, host.source) == (48 * 1024, 2048 * 1024, "detected")
    assert (host.cpu.llvm_name, host.summary.split()[-1]) == ("x86-64-v4", "x86-64-v4-vnni")


def test_host_without_cache_files_assumes_what_its_level_has(tmp_path):
    host = host_target(machine(tmp_path, "avx2 fma f16c"), "x86_64")
    level = targets.load("x86-64-v3")

    assert (host.cpu.l1d_bytes, host.cpu.l2_bytes) == (level.cpu.l1d_bytes, level.cpu.l2_bytes)
    assert "assumed" in host.source


@pytest.mark.parametrize(
    ("arch", "flags", "cpu"),
    [
        ("aarch64", "fp asimd", "generic"),
        ("aarch64", "fp asimd asimdhp asimddp", "cortex-a76"),
        ("arm64", "fp asimd", "generic"),
        ("armv7l", "half neon vfpv4", "cortex-a15"),
    ],
)
def test_arm_hosts_get_the_best_core_they_can_run(tmp_path, arch, flags, cpu):
    assert host_target(machine(tmp_path, flags), arch).cpu.llvm_name == cpu


@pytest.mark.parametrize("name", ["rpi3", "rpi4", "rpi5"])
def test_a_board_says_which_core_its_cpu_has(name):
    """As MIDR_EL1 says it, by Arm's manuals: implementer 0x41, a part number for each kind of core."""
    parts = {"cortex-a53": 0xD03, "cortex-a72": 0xD08, "cortex-a76": 0xD0B}

    cpu = targets.load(name).cpu

    assert cpu.midr == 0x41 << 24 | parts[cpu.llvm_name] << 4
    assert targets.facts(targets.load(name))["cpu"]["midr"] == cpu.midr


def test_a_machine_that_is_compiled_for_as_a_board_is_not_taken_for_its_core(tmp_path):
    host = host_target(machine(tmp_path, "fp asimd asimdhp asimddp"), "aarch64")

    assert host.cpu.llvm_name == "cortex-a76" and host.cpu.midr is None


@pytest.mark.parametrize(
    ("arch", "flags", "words"),
    [
        ("x86_64", "sse2 avx", ["lacks avx2, f16c, fma", "x86-64-v3"]),
        ("riscv64", "", ["riscv64", "no target describes"]),
    ],
)
def test_machine_that_fits_no_candidate_is_refused(tmp_path, arch, flags, words):
    with pytest.raises(TargetError) as caught:
        host_target(machine(tmp_path, flags), arch)

    assert all(word in str(caught.value) for word in words)


def test_unknown_target_lists_the_known_ones_and_a_guess():
    with pytest.raises(TargetError, match=r"unknown target 'rpi44', did you mean 'rpi4'\?; known: host, .*rpi5"):
        targets.load("rpi44")


def test_target_can_be_a_file_of_the_user(tmp_path):
    mine = tmp_path / "board.toml"
    mine.write_text((targets.folder() / "rpi4.toml").read_text().replace('name = "rpi4"', 'name = "board"'))

    assert targets.load(mine).name == "board"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "schema: got 2, expected 1"),
        ('name = "rpi4"', "", "name: missing, expected a line of text"),
        ("l2_bytes = 1048576", 'l2_bytes = "1 MiB"', "memory.l2_bytes: got '1 MiB', expected a positive integer"),
        ("l2_bytes = 1048576", "l2_bytes = 0", "memory.l2_bytes: got 0, expected a number from 4096 to 1099511627776"),
        ("cores = 4", "cores = true", "cpu.cores: got True, expected a positive integer"),
        ("registers = 32", "registers = 32\nregister = 1", "simd.register: no such key, did you mean 'registers'?"),
        ('isa = "aarch64"', 'isa = "mips"', "codegen.isa: got 'mips', expected one of x86_64, aarch64, armv7"),
        ('requires = ["neon"]', 'requires = ["avx2"]', "codegen.requires: got 'avx2', expected names among"),
        ('requires = ["neon"]', "requires = [1]", "codegen.requires: got [1], expected a list of strings"),
        ("vector_bits = 128", "vector_bits = 100", "simd.vector_bits: got 100, expected a power of two, such as 128"),
        ('name = "rpi4"', 'name = "../rpi4"', "name: got '../rpi4', expected letters"),
        ("registers = 32", "registers = 8", "simd.registers: got 8, expected a number from 16 to 128"),
        (
            "registers = 32",
            f"registers = {'9' * 4000}",
            "simd.registers: got a number of many digits, expected a number",
        ),
        ("vector_bits = 128", "vector_bits = 32", "simd.vector_bits: got 32, expected a number from 64 to 1024"),
        ("cores = 4", "cores = 1000000", "cpu.cores: got 1000000, expected a number from 1 to 1024"),
        ("clock_hz = 1_500_000_000", f"clock_hz = 1{'0' * 400}", "cpu.clock_hz: got a number of many digits"),
        ("l2_bytes = 1048576", "l2_bytes = 8192", "memory.l2_bytes: got 8192, expected at least l1d_bytes, 32768"),
        (
            'triple = "aarch64-',
            'triple = "aarch64_be-',
            "codegen.triple: got 'aarch64_be-linux-gnu', expected aarch64-",
        ),
        (
            'triple = "aarch64-linux-gnu"',
            'triple = "aarch64-linux-gnu; rm"',
            "codegen.triple: got 'aarch64-linux-gnu; rm'",
        ),
        ('cpu = "cortex-a72"', 'cpu = ""', "codegen.cpu: got '', expected a line of text"),
        ('summary = "', 'summary = "\\u001b[2J', "summary: got '\\x1b[2J"),
        ("midr = 0x4100d080", "midr = -1", "cpu.midr: got -1, expected a number from 1 to 4278255600"),
        ("midr = 0x4100d080", "midr = 0x410fd083", "cpu.midr: got 0x410fd083, expected 0x4100d080, without variant"),
        ("load_ports = 1", "", "core.load_ports: missing, expected a positive integer"),
        ("load_ports = 1", "load_port = 1", "core.load_port: no such key, did you mean 'load_ports'?"),
        ("[simd]", "[smd]", "smd: no such key, did you mean 'simd'?"),
        ("[simd]", "[", "not a TOML file"),
    ],
)
def test_mistake_in_a_file_names_file_key_and_what_was_expected(tmp_path, old, new, message):
    path = tmp_path / "board.toml"
    text = (targets.folder() / "rpi4.toml").read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))

    with pytest.raises(TargetError) as caught:
        targets.load(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_file_that_is_missing_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(TargetError, match="cannot be read: No such file"):
        targets.load(tmp_path / "none.toml")
    (tmp_path / "flat.toml").write_text("schema = 1\nname = 'x'\nsource = 'y'\ncodegen = 3\n")
    with pytest.raises(TargetError, match="codegen: got 3, expected a table"):
        targets.load(tmp_path / "flat.toml")


@pytest.mark.parametrize("name", targets.names())
def test_the_text_of_a_target_is_read_back(name, tmp_path):
    target = targets.load(name)
    (tmp_path / "same.toml").write_text(targets.dump(target), encoding="utf-8")

    assert targets.facts(targets.load(tmp_path / "same.toml")) == targets.facts(target)


def test_the_text_of_a_target_holds_any_character(tmp_path):
    """JSON would write the last one as two halves, which TOML does not know."""
    target = replace(targets.load("rpi4"), summary='a "board" \\ größe \U0001f967')
    (tmp_path / "same.toml").write_text(targets.dump(target), encoding="utf-8")

    assert targets.load(tmp_path / "same.toml").summary == target.summary
