"""Boards as trees of files, as their kernels make them; and shells that find one in the place of this machine's files.

Source: Linux, Documentation/ABI/testing/sysfs-devices-system-cpu and sysfs-class-thermal, Documentation/hwmon;
/proc/cpuinfo as arch/arm64/kernel/cpuinfo.c prints it; the firmware driver of raspberrypi/linux.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import edgesparse
from edgesparse.measure import random_feeds
from tests.models import ort_run

BOARD = "pi@board"

ARMV8 = "fp asimd evtstrm crc32 cpuid"
DOTPROD = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"

Tree = dict[str, str]


def cpuinfo(parts: list[int], features: str = ARMV8, implementer: int = 0x41) -> str:
    """What a kernel of 64 bits says of cores with these part numbers."""
    blocks = (
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: {implementer:#04x}\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part:#05x}\nCPU revision\t: 3\n\n"
        for number, part in enumerate(parts)
    )
    return "".join(blocks)


def clocks(numbers: range, low_khz: int, high_khz: int, governor: str = "ondemand", top_khz: int = 0) -> Tree:
    """What cpufreq says of some cores."""
    told = {
        "scaling_min_freq": low_khz,
        "scaling_max_freq": high_khz,
        "scaling_cur_freq": low_khz,
        "cpuinfo_max_freq": top_khz or high_khz,
        "scaling_governor": governor,
        "scaling_driver": "cpufreq-dt",
    }
    return {
        f"sys/devices/system/cpu/cpu{n}/cpufreq/{name}": f"{text}\n" for n in numbers for name, text in told.items()
    }


def pi4(**changed: str) -> Tree:
    """A Raspberry Pi 4."""
    return {
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        "proc/cpuinfo": cpuinfo([0xD08] * 4) + "Hardware\t: BCM2835\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
        "proc/meminfo": "MemTotal:        3884376 kB\nMemFree:          123456 kB\nMemAvailable:    3210000 kB\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
        **clocks(range(4), 600_000, 1_800_000),
        **changed,
    }


def phone() -> Tree:
    """A phone with four little, three big cores and one that is bigger."""
    capacities = {f"sys/devices/system/cpu/cpu{n}/cpu_capacity": text for n, text in enumerate([250] * 4 + [801] * 3)}
    return {
        "proc/cpuinfo": cpuinfo([0xD05] * 4 + [0xD0D] * 4, DOTPROD),
        "proc/meminfo": "MemTotal:        7654321 kB\n",
        **{name: f"{text}\n" for name, text in capacities.items()},
        "sys/devices/system/cpu/cpu7/cpu_capacity": "1024\n",
        **clocks(range(4), 300_000, 1_804_800, "schedutil"),
        **clocks(range(4, 7), 710_400, 2_419_200, "schedutil"),
        **clocks(range(7, 8), 844_800, 2_841_600, "schedutil"),
        "sys/class/thermal/thermal_zone0/type": "battery\n",
        "sys/class/thermal/thermal_zone0/temp": "61000\n",
        "sys/class/thermal/thermal_zone1/type": "cpu-0-0-usr\n",
        "sys/class/thermal/thermal_zone1/temp": "41800\n",
        "sys/class/thermal/thermal_zone2/type": "cpu-1-0-usr\n",
        "sys/class/thermal/thermal_zone2/temp": "43100\n",
        "sys/class/thermal/thermal_zone3/type": "cpu-broken\n",
        "sys/class/thermal/thermal_zone3/temp": "-274000\n",
    }


def plant(tree: Mapping[str, str], root: Path) -> Path:
    """Make the files below a folder."""
    for name, text in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    root.mkdir(exist_ok=True)
    return root


def functions(root: Path, machine: str = "aarch64", emulator: str = "", more: str = "") -> str:
    """Functions of bash that make a shell one of a board: its files, its machine, and what runs its programs."""
    lines = (
        f'cd() {{ if [ "$1" = / ]; then command cd {shlex.quote(str(root))}; else command cd "$@"; fi; }}',
        f'uname() {{ if [ "$1" = -m ]; then echo {machine}; else command uname "$@"; fi; }}',
        f'exec() {{ command exec {emulator} "$@"; }}' if emulator else "",
        more,
    )
    return "\n".join(filter(None, lines))


def shell(root: Path, machine: str = "aarch64", emulator: str = "", more: str = "") -> str:
    """A command that becomes such a shell."""
    script = f"{functions(root, machine, emulator, more)}\nexport -f $(compgen -A function)\ncommand exec bash"
    return f"exec bash -c {shlex.quote(script)}"


def feeds(artifact: Path) -> dict[str, np.ndarray]:
    return random_feeds(edgesparse.inspect(artifact).inputs)


def expect_right(outputs: dict[str, np.ndarray], model: Path, given: dict[str, np.ndarray]) -> None:
    (expected,) = ort_run(model, given)
    np.testing.assert_allclose(outputs["scores"], expected, rtol=1e-3, atol=1e-4)


def processes(of: Path) -> list[str]:
    """Command lines of processes that run a program below a folder."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if str(of) in line and not line.startswith("ps ")]
