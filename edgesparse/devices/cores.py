"""The cores of a device: of which kinds they are, which are the big ones, and those that a user asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgesparse.devices.caches import UNTOLD, Caches, caches
from edgesparse.devices.parts import core_name, is_in_order
from edgesparse.errors import MeasureError

BIG, LITTLE = "big", "little"
MOST = 1024
"""Numbers of cores are below it."""

CPUFREQ = "sys/devices/system/cpu/cpu{}/cpufreq/{}"
CAPACITY = "sys/devices/system/cpu/cpu{}/cpu_capacity"

_HERTZ = 1000  # of what the files count clocks in


@dataclass(frozen=True)
class CoreKind:
    """Cores of one kind, by the numbers that the system has for them; None where it does not tell."""

    name: str
    numbers: tuple[int, ...]
    midr: int | None  # implementer and part
    capacity: int | None  # against the biggest core, which has 1024
    clocks_hz: tuple[int, int] | None  # the lowest and the highest that the governor may choose
    clock_hz: int | None  # the highest of them now
    top_hz: int | None  # what it could run at, if it were allowed to
    governor: str | None
    caches: Caches = UNTOLD

    def __str__(self) -> str:
        return f"{len(self.numbers)} x {self.name}"

    @property
    def clocks(self) -> str:
        """The clocks in words; empty where they are not known."""
        if self.clocks_hz is None:
            return ""
        low, high = self.clocks_hz
        top = f" of {self.top_hz / 1e6:.0f}" if self.top_hz and self.top_hz > high else ""
        return f"{low / 1e6:.0f} to {high / 1e6:.0f}{top} MHz"

    def size(self) -> tuple[int, bool, int]:
        """What orders kinds: what the system says they are worth, else how they are built, else their clock."""
        return self.capacity or 0, not is_in_order(self.midr), self.top_hz or 0


def kinds(told: Mapping[int, Mapping[str, str]], files: Mapping[str, str]) -> tuple[CoreKind, ...]:
    """The cores by kind, the smallest first.

    Args:
        told: what /proc/cpuinfo says of each.
        files: contents of files by their paths below the root.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, core in sorted(told.items()):
        midr, capacity = _midr(core), _number(files.get(CAPACITY.format(number), ""))
        differs = None if midr is None else _number(files.get(CPUFREQ.format(number, "cpuinfo_max_freq"), ""))
        groups.setdefault((_name(core), midr, capacity, differs), []).append(number)
    found = [_kind(str(name), numbers, _midr(told[numbers[0]]), files) for (name, *_), numbers in groups.items()]
    return tuple(sorted(found, key=CoreKind.size))


def _kind(name: str, numbers: Sequence[int], midr: int | None, files: Mapping[str, str]) -> CoreKind:
    def each(file: str) -> list[str]:
        return [text for number in numbers if (text := files.get(CPUFREQ.format(number, file)))]

    def clocks(file: str) -> list[int]:
        return [number * _HERTZ for text in each(file) if (number := _number(text))]

    lowest, highest = clocks("scaling_min_freq"), clocks("scaling_max_freq")
    return CoreKind(
        name=name,
        numbers=tuple(numbers),
        midr=midr,
        capacity=_number(files.get(CAPACITY.format(numbers[0]), "")),
        clocks_hz=(min(lowest), max(highest)) if lowest and highest else None,
        clock_hz=max(clocks("scaling_cur_freq"), default=None),
        top_hz=max(clocks("cpuinfo_max_freq"), default=None),
        governor="/".join(sorted({plain(text) for text in each("scaling_governor")})) or None,
        caches=caches(numbers[0], files),
    )


def plain(text: str) -> str:
    """A text of a device in one line without control characters."""
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())[:100]


def _name(core: Mapping[str, str]) -> str:
    midr = _midr(core)
    if midr is not None:
        return core_name(midr >> 24, midr >> 4 & 0xFFF)
    return plain(core.get("model name", "")) or "unnamed core"


def _midr(core: Mapping[str, str]) -> int | None:
    """Implementer and part, where MIDR_EL1 has them."""
    texts = core.get("CPU implementer", ""), core.get("CPU part", "")
    if not all(re.fullmatch(r"0x[0-9a-fA-F]{1,3}", text) for text in texts):
        return None
    implementer, part = (int(text, 16) for text in texts)
    return implementer << 24 | part << 4 if implementer <= 0xFF else None


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text.strip()) else None


def chosen(asked: str, found: Sequence[CoreKind], device: str) -> tuple[int, ...]:
    """The numbers of the cores that are asked for: "big", "little", or such as "0-3,5".

    Little cores are those of the smallest kind, big ones all others.

    Raises: MeasureError: it is none of these, or the device has no such cores.
    """
    if asked in (BIG, LITTLE):
        if len(found) < 2:
            has = ", ".join(map(str, found)) or "does not tell its cores"
            raise MeasureError(f"cores: got {asked!r}, but {device} has cores of one kind ({has}); give their numbers")
        return tuple(sorted(number for kind in (found[1:] if asked == BIG else found[:1]) for number in kind.numbers))
    numbers = tuple(dict.fromkeys(_listed(asked)))
    known = {number for kind in found for number in kind.numbers}
    missing = [number for number in numbers if known and number not in known]
    if missing:
        raise MeasureError(f"cores: got {missing[0]}, but {device} has {ranges(known)}")
    return numbers


def of_one_kind(asked: str | None, found: Sequence[CoreKind], device: str) -> tuple[CoreKind, tuple[int, ...]]:
    """Cores that are alike, as a target's are: their kind and their numbers.

    Args: asked: as for `chosen`; without it, and for "big", those that are built as the biggest.

    Raises: MeasureError: the device does not tell its cores, has none of these, or they are not alike.
    """
    if not found:
        raise MeasureError(f"{device}: does not tell its cores")
    if asked is None and len(found) == 1:
        return found[0], found[0].numbers
    numbers = chosen(asked or BIG, found, device)
    kinds = [kind for kind in found if not set(kind.numbers).isdisjoint(numbers)]
    alike = [kind for kind in kinds if (kind.name, kind.midr) == (kinds[-1].name, kinds[-1].midr)]
    if len(alike) < len(kinds) and asked not in (None, BIG):
        names = ", ".join(dict.fromkeys(kind.name for kind in kinds))
        raise MeasureError(f"cores: got {asked!r}, but on {device} these are of several kinds ({names}); name one kind")
    return alike[-1], tuple(number for number in numbers if any(number in kind.numbers for kind in alike))


def require_cores(asked: str | None) -> None:
    """Raises: MeasureError: it cannot be read."""
    if asked is not None and asked not in (BIG, LITTLE):
        list(_listed(asked))


def _listed(text: str) -> Iterator[int]:
    for part in str(text).split(","):
        ends = re.fullmatch(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if first > last or last >= MOST:
            raise MeasureError(f"cores: got {text!r}, expected big, little, or numbers such as 0-3,5")
        yield from range(first, last + 1)


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as "0-3, 5"."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
