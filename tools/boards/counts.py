"""Classes of AArch64 instructions, and the loops that a run spent its multiply-adds in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tools.boards.emulate import Ran


@dataclass(frozen=True)
class Mix:
    """How many instructions of each class ran. A load of two 128-bit registers is one instruction and two loads."""

    instructions: int = 0
    fmas: int = 0  # 128-bit multiply-adds
    scalar_fmas: int = 0
    vector: int = 0  # other vector and scalar floating-point operations
    wide_loads: int = 0  # of 128 bits
    narrow_loads: int = 0  # of at most 64 bits into a vector register
    broadcast_loads: int = 0  # of one element into every lane, or into one lane and no other
    narrow_pairs: int = 0  # of two such registers
    scalar_loads: int = 0
    scalar_pairs: int = 0
    store_bits: int = 0
    branches: int = 0
    other: int = 0

    @property
    def macs(self) -> float:
        """128-bit multiply-adds; four scalar ones count as one."""
        return self.fmas + self.scalar_fmas / 4

    @property
    def loads(self) -> int:
        """Registers loaded: what the goals count."""
        single = self.wide_loads + self.narrow_loads + self.broadcast_loads + self.scalar_loads
        return single + 2 * (self.narrow_pairs + self.scalar_pairs)


_BITS = {"q": 128, "d": 64, "s": 32, "h": 16, "b": 8, "x": 64, "w": 32}
_LOAD, _STORE = re.compile(r"ld|prfm"), re.compile(r"st[rpu1]")


def classes(text: str) -> Counter[str]:
    """What one run of an instruction adds to each field of a `Mix`."""
    name, _, operands = text.partition(" ")
    found = Counter(instructions=1)
    register = operands.lstrip("{ ")[:1]
    if name.startswith("fmla") and ".4s" in operands:
        found["fmas"] = 1
    elif name == "fmadd":
        found["scalar_fmas"] = 1
    elif _LOAD.match(name):
        found.update(_load(name, operands, register))
    elif _STORE.match(name):
        found["store_bits"] = _bits(operands) * (2 if name.startswith("stp") else 1)
    elif re.match(r"b(\.|l?r?$)|cbn?z|tbn?z|ret", name):
        found["branches"] = 1
    elif register in "vqsdh" or name.startswith("f"):
        found["vector"] = 1
    else:
        found["other"] = 1
    return found


def _load(name: str, operands: str, register: str) -> dict[str, int]:
    pair = name.startswith(("ldp", "ldnp"))
    if operands.startswith("{"):  # ld1, ld1r
        registers = len(re.findall(r"v\d+\.", operands))
        if name == "ld1" and "[" not in operands.partition("}")[2].partition(",")[0]:
            return {"wide_loads": registers}
        return {"broadcast_loads": 1}
    if register == "q":
        return {"wide_loads": 2 if pair else 1}
    if register in "dshb":
        return {"narrow_pairs" if pair else "narrow_loads": 1}
    return {"scalar_pairs" if pair else "scalar_loads": 1}


def _bits(operands: str) -> int:
    """Of the first register stored."""
    lane = re.match(r"\{ ?v\d+\.(\d*)([bhsdq])", operands)
    if lane:
        single = not lane[1]
        return _BITS[lane[2]] if single else _BITS[lane[2]] * int(lane[1])
    if operands.startswith(("wzr", "xzr")):
        return _BITS[operands[0]]
    return _BITS.get(operands[:1], 64)


def mix_of(ran: Iterable[Ran]) -> Mix:
    """What ran, by class."""
    total: Counter[str] = Counter()
    for each in ran:
        for name, count in classes(each.text).items():
            total[name] += count * each.runs
    return Mix(**total)


@dataclass(frozen=True)
class Loop:
    """An innermost loop: its body in order of address, how often the body ran and how often it was left."""

    body: tuple[Ran, ...]
    entries: int

    @property
    def runs(self) -> int:
        """Iterations."""
        return self.body[-1].runs

    @property
    def longest_chain(self) -> float:
        """Multiply-adds of an iteration that wait for one another: those into one register."""
        into = Counter(each.text.split()[1] for each in self.body if each.text.startswith(("fmla", "fmadd")))
        return max(into.values(), default=0)


def split_loops(ran: Sequence[Ran]) -> tuple[list[Loop], list[Ran]]:
    """The innermost loops, and the rest."""
    places = {each.address: place for place, each in enumerate(ran)}
    loops: list[Loop] = []
    rest: list[Ran] = []
    spans, at = [], 0
    for end, each in enumerate(ran):
        start = places.get(_branch_target(each.text) or -1)
        if start is not None and start <= end:
            spans.append((start, end))
    inner = [s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    for start, end in sorted(inner):
        if start < at:
            continue
        rest += ran[at:start]
        left = ran[end + 1].runs if end + 1 < len(ran) else 1
        loops.append(Loop(tuple(ran[start : end + 1]), min(left, ran[end].runs)))
        at = end + 1
    return loops, [*rest, *ran[at:]]


def _branch_target(text: str) -> int | None:
    match = re.match(r"(?:b|b\.\w+|cbn?z|tbn?z)\s.*#0x([0-9a-f]+)$", text)
    return int(match[1], 16) if match else None
