"""What a device says of itself: files of Linux, which one command of a shell prints, here or at the end of a pipe."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from edgesparse.devices import caches
from edgesparse.devices.cores import CPUFREQ, CoreKind, kinds, plain
from edgesparse.isa import ISAS
from edgesparse.tables import Note

_EACH = "[0-9]*"
_FIRMWARE = "sys/devices/platform/soc*/soc*firmware/get_throttled"
FILES = (
    "proc/device-tree/model",
    "proc/cpuinfo",
    "proc/meminfo",
    CPUFREQ.format(_EACH, "scaling_*"),
    CPUFREQ.format(_EACH, "cpuinfo_max_freq"),
    f"sys/devices/system/cpu/cpu{_EACH}/cpu_capacity",
    *caches.FILES,
    f"sys/class/thermal/thermal_zone{_EACH}/type",
    f"sys/class/thermal/thermal_zone{_EACH}/temp",
    f"sys/class/hwmon/hwmon{_EACH}/name",
    f"sys/class/hwmon/hwmon{_EACH}/temp{_EACH}_input",
    _FIRMWARE,
)
"""What is read, below the root."""

_MANUFACTURER, _MODEL = "getprop ro.product.manufacturer", "getprop ro.product.model"
_MACHINE, _KERNEL, _VCGENCMD = "uname -m", "uname -r", "vcgencmd get_throttled"
COMMANDS = (_MACHINE, _KERNEL, _MANUFACTURER, _MODEL, _VCGENCMD)
"""What is asked of programs, where they are there."""

MOST_LINES = 100_000  # of a file
PATIENCE_S = 10.0  # with this machine

THROTTLED = {0: "undervoltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of the firmware of a Raspberry Pi; each is also 16 further up, where it has happened since the start.

Source: raspberrypi.com, documentation of vcgencmd get_throttled.
"""

_SINCE = 16

_IMPLIED = {"asimd": ("neon", "vfpv4")}
"""A kernel of 64 bits says less of what programs of 32 bits may use."""

_OWN_CLOCKS = ("intel_pstate", "amd-pstate", "amd-pstate-epp")
"""Drivers that choose among all clocks, also where their governor is called powersave."""


def script(root: str = "/") -> str:
    """A command that prints the files that are there, and what programs say, each behind a line with its name."""
    # Braces within, since dash forgets what stands behind a subshell in a group that is redirected.
    asked = " ".join(map(shlex.quote, COMMANDS))
    return (
        f"( {{ cd {shlex.quote(root)} && head -n {MOST_LINES} {' '.join(FILES)}; "
        f'for asked in {asked}; do echo; echo "==> $asked <=="; $asked; done; }} 2> /dev/null < /dev/null )'
    )


@dataclass(frozen=True)
class DeviceFacts:
    """A device at one moment; None where it does not tell."""

    model: str
    machine: str  # as `uname -m` says it
    kernel: str
    cores: tuple[CoreKind, ...]  # the smallest kind first
    features: tuple[str, ...] | None  # of those that artifacts may need
    memory_bytes: int | None
    available_bytes: int | None
    temperature_c: float | None  # of the hottest sensor: of the CPU, where sensors say that they are there
    sensor: str
    throttled: tuple[str, ...] | None  # what holds it back now
    throttled_before: tuple[str, ...]  # what has, since it was started
    frequency_driver: str = ""
    other_features: tuple[str, ...] = ()  # that no artifact needs, by the kernel's names

    @property
    def isa(self) -> str | None:
        """Its instruction set, if that is one that artifacts hold code for."""
        return next((row.name for row in ISAS.values() if self.machine in row.machines), None)

    @property
    def core_names(self) -> str:
        """Its cores in words, the biggest first."""
        return " and ".join(dict.fromkeys(kind.name for kind in reversed(self.cores)))

    @property
    def governors(self) -> str:
        """What chooses its clocks; empty where that is not known."""
        return "/".join(dict.fromkeys(kind.governor for kind in self.cores if kind.governor))

    @property
    def is_slow(self) -> bool:
        """Whether its governor keeps it at its lowest clock."""
        return "powersave" in self.governors and self.frequency_driver not in _OWN_CLOCKS

    def __str__(self) -> str:
        return ", ".join(self._words())

    def _words(self) -> Iterator[str]:
        if self.model:
            yield self.model
        for kind in self.cores:
            yield str(kind) + (f" ({kind.clocks})" if kind.clocks and len(self.cores) > 1 else "")
        if len(self.cores) == 1 and self.cores[0].clocks:
            yield self.cores[0].clocks
        if self.governors:
            yield f"governor {self.governors}"
        if self.temperature_c is not None:
            yield f"{self.temperature_c:.1f} C"
        if self.throttled:
            yield f"held back: {', '.join(self.throttled)}"

    def warnings(self, device: str) -> Iterator[Note]:
        """What makes times longer than they need be."""
        if self.throttled:
            yield Note(f"{device} is held back ({', '.join(self.throttled)}): times are not its best", warning=True)
        if self.is_slow:
            yield Note(f"{device} keeps to its lowest clock: its governor is {self.governors}", warning=True)


def here() -> DeviceFacts:
    """This machine."""
    printed = b""
    with suppress(OSError, subprocess.TimeoutExpired):
        printed = subprocess.run(["sh", "-c", script()], capture_output=True, timeout=PATIENCE_S, check=False).stdout
    return parse(printed.decode(errors="replace"))


def parse(printed: str) -> DeviceFacts:
    """The facts in what `script` printed. What is not as it should be is as if it were not there."""
    files = dict(_sections(printed))
    told = _cpuinfo(files.get("proc/cpuinfo", ""))
    machine = plain(files.get(_MACHINE, "")).lower()
    sensor, temperature = max(_temperatures(files), key=lambda pair: pair[1], default=("", None))
    flags = _flags(told, machine)
    bits = _throttled(files)
    drivers = {plain(text) for name, text in files.items() if name.endswith("/scaling_driver")}
    return DeviceFacts(
        model=plain(files.get("proc/device-tree/model", "")) or _product(files),
        machine=machine,
        kernel=plain(files.get(_KERNEL, "")),
        cores=kinds(told, files),
        features=_features(flags),
        other_features=_others(flags),
        memory_bytes=_memory(files, "MemTotal"),
        available_bytes=_memory(files, "MemAvailable"),
        temperature_c=temperature,
        sensor=sensor,
        throttled=None if bits is None else _held(bits),
        throttled_before=() if bits is None else _held(bits >> _SINCE),
        frequency_driver="/".join(sorted(drivers)),
    )


def _sections(printed: str) -> Iterator[tuple[str, str]]:
    """Names and contents."""
    parts = re.split(r"^==> (.+) <==\r?$", printed, flags=re.MULTILINE)
    return zip(parts[1::2], (text.replace("\0", " ").strip() for text in parts[2::2]), strict=True)


def _product(files: Mapping[str, str]) -> str:
    """What Android calls a device."""
    manufacturer, model = (plain(files.get(name, "")) for name in (_MANUFACTURER, _MODEL))
    return model if model.lower().startswith(manufacturer.lower()) else f"{manufacturer} {model}".strip()


def _cpuinfo(text: str) -> dict[int, dict[str, str]]:
    """What is told of each core; old kernels tell once, behind all of them, what is so of each."""
    cores: dict[int, dict[str, str]] = {}
    common: dict[str, str] = {}
    core = common
    for line in text.splitlines():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and re.fullmatch(r"[0-9]{1,4}", value):
            core = cores.setdefault(int(value), {})
        elif colon:
            core[key] = common[key] = value
    return {number: {**common, **own} for number, own in cores.items()}


def _flags(told: Mapping[int, Mapping[str, str]], machine: str) -> set[str] | None:
    """What all cores have, by the kernel's names."""
    row = next((row for row in ISAS.values() if machine in row.machines), None)
    key = "flags" if row is not None and row.name == "x86_64" else "Features"
    if row is None or not told or not all(core.get(key) for core in told.values()):
        return None
    return set.intersection(*(set(core[key].split()) for core in told.values()))


def _features(flags: set[str] | None) -> tuple[str, ...] | None:
    if flags is None:
        return None
    has = flags.union(*(_IMPLIED[flag] for flag in flags & _IMPLIED.keys()))
    return tuple(sorted({feature.name for row in ISAS.values() for feature in row.features if feature.flag in has}))


def _others(flags: set[str] | None) -> tuple[str, ...]:
    needed = {feature.flag for row in ISAS.values() for feature in row.features}
    return tuple(sorted(flag for flag in (flags or set()) - needed if re.fullmatch(r"[a-z0-9_.]{1,32}", flag)))


def _temperatures(files: Mapping[str, str]) -> list[tuple[str, float]]:
    """Sensors and what they say in degrees Celsius: those of the CPU, where some say that they are."""
    found: list[tuple[str, float]] = []
    for path, text in files.items():
        zone = re.fullmatch(r"(sys/class/(?:thermal/thermal_zone\d+|hwmon/hwmon\d+)/)temp(?:\d+_input)?", path)
        if zone and re.fullmatch(r"-?[0-9]{1,6}", text) and -100_000 < int(text) < 200_000:
            name = files.get(f"{zone[1]}type") or files.get(f"{zone[1]}name") or ""
            found.append((plain(name) or "unnamed sensor", int(text) / 1000))
    of_cpu = [pair for pair in found if re.search(r"cpu|soc|pkg|core|k10temp", pair[0], re.IGNORECASE)]
    return of_cpu or found


def _memory(files: Mapping[str, str], name: str) -> int | None:
    found = re.search(rf"^{name}:\s*([0-9]{{1,15}}) kB$", files.get("proc/meminfo", ""), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def _throttled(files: Mapping[str, str]) -> int | None:
    """Bits of the firmware, which are told in hexadecimal, with or without 0x."""
    texts = (text for name, text in files.items() if name.endswith("/get_throttled") or name == _VCGENCMD)
    found = (re.fullmatch(r"(?:throttled=)?((?:0x)?[0-9a-fA-F]{1,8})", text) for text in texts)
    return next((int(match[1], 16) for match in found if match), None)


def _held(bits: int) -> tuple[str, ...]:
    return tuple(words for bit, words in THROTTLED.items() if bits >> bit & 1)
