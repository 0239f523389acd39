"""What a device says of itself, read from trees of files as kernels make them."""

from __future__ import annotations

import json
import random
import shutil
import subprocess

import edgesparse_runtime
import pytest

from edgesparse.devices import facts, fitting
from edgesparse.devices.facts import DeviceFacts
from tests.devices import boards
from tests.devices.boards import Tree, clocks, cpuinfo, phone, pi4, plant


@pytest.fixture
def told(tmp_path):
    """Reads a tree of files as a shell prints it, on a machine with some programs."""

    def read(tree: Tree, machine: str = "aarch64", more: str = "") -> DeviceFacts:
        shutil.rmtree(tmp_path / "board", ignore_errors=True)
        board = plant(tree, tmp_path / "board")
        script = f"{boards.functions(board, machine, more=more)}\n{facts.script()}"
        return facts.parse(subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False).stdout)

    return read


def names(found: DeviceFacts) -> list[str]:
    return [target.name for target in fitting.suited(found)]


def test_a_raspberry_pi_is_told_in_a_line(told):
    found = told(pi4())

    assert str(found) == ("Raspberry Pi 4 Model B Rev 1.4, 4 x Cortex-A72, 600 to 1800 MHz, governor ondemand, 48.3 C")
    assert (found.isa, found.memory_bytes, found.available_bytes) == ("aarch64", 3884376 * 1024, 3210000 * 1024)
    assert (found.cores[0].clock_hz, found.sensor, found.throttled) == (600_000_000, "cpu-thermal", ())
    assert [*found.warnings("it")] == []


def test_the_target_of_its_own_core_is_the_first(told):
    assert names(told(pi4()))[0] == "rpi4"
    assert names(told({"proc/cpuinfo": cpuinfo([0xD03] * 4)}))[0] == "rpi3"
    assert names(told({"proc/cpuinfo": cpuinfo([0xD0B] * 4, boards.DOTPROD)}))[0] == "rpi5"
    assert names(told(phone()))[0] == "android-arm64-v82"  # of those that need most of what it has
    assert names(told({"proc/cpuinfo": "flags: avx2 fma f16c\nprocessor: 0\nflags: avx2 fma f16c"}, "x86_64")) == [
        "x86-64-v3"
    ]


def test_without_features_the_target_is_the_one_that_needs_least(told):
    assert "rpi5" not in names(told({}))
    assert names(told({}, "sparc")) == []


def test_big_and_little_cores_are_kinds_of_their_own(told):
    found = told(phone(), more='getprop() { [ "$1" = ro.product.model ] && echo "Pixel 5"; }')

    assert found.model == "Pixel 5"
    assert [(kind.name, kind.numbers) for kind in found.cores] == [
        ("Cortex-A55", (0, 1, 2, 3)),
        ("Cortex-A77", (4, 5, 6)),
        ("Cortex-A77", (7,)),
    ]
    assert "1 x Cortex-A77 (845 to 2842 MHz)" in str(found)
    assert (found.temperature_c, found.sensor) == (43.1, "cpu-1-0-usr")
    assert set(found.features) == {"neon", "dotprod", "fp16", "vfp4"}


def test_little_cores_of_a_higher_clock_are_little_all_the_same(told):
    """The Amlogic S922X: Cortex-A53 at 1.9 GHz, Cortex-A73 at 1.8."""
    tree = {
        "proc/cpuinfo": cpuinfo([0xD03] * 2 + [0xD09] * 4),
        **clocks(range(2), 100_000, 1_896_000),
        **clocks(range(2, 6), 100_000, 1_800_000),
    }

    assert [kind.name for kind in told(tree).cores] == ["Cortex-A53", "Cortex-A73"]


def test_old_kernels_that_tell_once_tell_of_all_cores(told):
    tree = {
        "proc/cpuinfo": "Processor\t: AArch64 Processor rev 3 (aarch64)\nprocessor\t: 0\nprocessor\t: 1\n"
        "Features\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd03\n"
    }

    (kind,) = told(tree).cores

    assert (kind.name, kind.numbers, told(tree).features) == ("Cortex-A53", (0, 1), ("neon", "vfp4"))


def test_firmware_that_holds_a_board_back_is_believed(told):
    found = told(pi4(**{"sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n"}))

    assert found.throttled == found.throttled_before == ("undervoltage", "throttled")
    assert "held back (undervoltage, throttled)" in str(next(found.warnings("pi")))
    bare = {"proc/cpuinfo": cpuinfo([0xD08])}
    assert told(bare, more="vcgencmd() { echo throttled=0x20002; }").throttled == ("clock capped",)


def test_a_governor_that_saves_power_is_warned_of_unless_its_driver_chooses_all_the_same(told):
    slow = pi4(**clocks(range(4), 600_000, 1_800_000, "powersave"))
    drivers = {f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_driver": "intel_pstate\n" for n in range(4)}

    assert "its governor is powersave" in str(next(told(slow).warnings("pi")))
    assert [*told(slow | drivers).warnings("pi")] == []


def test_a_cap_on_the_clock_is_told(told):
    found = told(pi4(**clocks(range(4), 600_000, 1_000_000, top_khz=1_800_000)))

    assert "600 to 1000 of 1800 MHz" in str(found)


def test_cores_without_a_name_have_numbers(told):
    (kind,) = told({"proc/cpuinfo": cpuinfo([0xABC], implementer=0x77)}).cores

    assert kind.name == "core 0x77/0xabc"


def test_what_a_device_tells_is_one_line_whatever_it_is(told):
    tree = {
        "proc/device-tree/model": "a\x1b[31m\nboard\0\0",
        "proc/cpuinfo": "processor : ²\nprocessor : 99999999\nprocessor : 1\nmodel name : \x07bell\nflags\n",
        "proc/meminfo": "MemTotal: many kB\n",
        **clocks(range(1, 2), -1, 10**30),
        "sys/class/thermal/thermal_zone0/temp": "hot",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "fffffffffffff",
    }

    found = told(tree)

    assert str(found).isprintable() and found.temperature_c is None and found.throttled is None


def test_no_output_of_a_device_is_too_strange():
    rng = random.Random(0)
    whole = "".join(f"\n==> {name} <==\n{text}" for name, text in (phone() | pi4()).items())

    for _ in range(100):
        first, last = sorted(rng.sample(range(len(whole)), 2))
        text = whole[:first] + rng.choice(["", "\0", "==> ", " <==\n", "9" * 30, "\u0663", ":"]) + whole[last:]
        found = facts.parse(text)
        assert str(found).isprintable()
        fitting.suited(found)


def test_this_machine_tells_what_it_is():
    found = facts.here()

    assert found.isa is not None and found.memory_bytes


def test_detect_says_what_a_machine_is_and_which_target_is_for_it(command):
    shown, told = command("targets", "detect"), json.loads(command("targets", "detect", "--json").stdout)

    assert shown.returncode == 0 and "\ntarget " in shown.stdout
    assert told["targets"][0] == "host" and told["device"]["isa"] == facts.here().isa


def test_what_holds_a_raspberry_pi_back_is_called_alike_by_the_runtime():
    assert facts.THROTTLED == edgesparse_runtime._profile.THROTTLED


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_what_is_not_there_says_nothing_whatever_becomes_of_errors(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")

    said = subprocess.run([shell, "-c", f"{{ {facts.script(str(tmp_path))}; }} 2>&1"], capture_output=True, text=True)

    assert "not found" not in said.stdout and "cannot open" not in said.stdout and said.stderr == ""
