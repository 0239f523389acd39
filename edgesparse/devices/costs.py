"""Cost tables: what the work of the weighted layers' kernels costs on a device, read from TOML and written to it.

A kernel's time is a sum of counts times unit costs in nanoseconds: steps and starts of its inner loop, which every
loop has costs of its own for, and what all kernels do alike: calls, packing, partial sums, stores, reading weights.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from edgesparse.errors import TargetError
from edgesparse.inputs import content, said
from edgesparse.numerics import F32
from edgesparse.signatures import COSTS, TARGET

SCHEMA = 1
L1_SHARE = 0.75  # where a cost table does not tell
MEASURED, ESTIMATED = "measured", "estimated"
_LOOP = re.compile(r"([a-z]+(?:_[a-z]+)??)(?:_([a-z]+\d+\w*?))?_(\d+)x(\d+)_u(\d+)_r(\d+)(?:_c(\d+))?")


@dataclass(frozen=True, order=True)
class Loop:
    """An inner loop over `chunk` weights at a time, each a `block` of RxQ, of `rows` rows by `vectors` registers."""

    form: str  # "dense", "sparse", or of the column forms "vector_dense" and "vector_sparse"
    block: tuple[int, int]
    vectors: int
    rows: int
    chunk: int = 1
    numerics: str = str(F32)

    @property
    def name(self) -> str:
        """Such as sparse_f32_4x1_u7_r4, or sparse_f32_1x1_u7_r1_c4 for chunks of four."""
        chunk = f"_c{self.chunk}" if self.chunk > 1 else ""
        return f"{self.form}_{self.numerics}_{self.block[0]}x{self.block[1]}_u{self.vectors}_r{self.rows}{chunk}"

    @classmethod
    def parse(cls, name: str) -> Loop | None:
        """The loop of that name, which may leave out f32; None for a text that names none."""
        found = _LOOP.fullmatch(name)
        if found is None:
            return None
        form, numerics, *numbers = found.groups()
        r, q, vectors, rows, chunk = (int(number or 1) for number in numbers)
        return cls(form, (r, q), vectors, rows, chunk, numerics or str(F32))


@dataclass(frozen=True)
class LoopCost:
    """Nanoseconds of one step of a loop, and of entering and leaving it once."""

    step_ns: float
    start_ns: float


@dataclass(frozen=True)
class Costs:
    """Nanoseconds of what all kernels do alike; a vector is a SIMD register of the target."""

    call_ns: float  # a kernel is called
    tile_ns: float  # a tile begins
    pack_row_ns: float  # a row of the packed x block begins
    pack_vector_ns: float  # a vector of x is packed
    partial_vector_ns: float  # a vector of partial sums is kept and fetched, beyond what the start of a loop costs
    store_piece_ns: float  # a piece of a row that is not whole vectors is stored
    far_vector_ns: float  # a vector of packed x is fetched from beyond the L1 cache by a sparse loop
    far_kib_ns: float  # 1024 bytes of x are read, or of y written, when they do not fit the L2 cache
    weight_kib_ns: float  # 1024 bytes of weights are read for the first time in a call
    weight_again_kib_ns: float  # ... and again for another tile, when they do not fit the L2 cache
    activation_vector_ns: float  # a vector of y passes an activation that takes an exponential: Gelu, Sigmoid, ...


@dataclass(frozen=True)
class CostTable:
    """Unit costs of a device. `origin` is "measured" or "estimated", `source` says by what, on what and when.

    `l1_share` is how large a packed block of x may be, over the L1 cache, before fetching it costs: cores that hide
    the latency of L2 allow more than 1.
    """

    target: str
    origin: str
    source: str
    costs: Costs
    loops: Mapping[Loop, LoopCost]
    machine: str = ""  # CPU that was measured
    l1_share: float = L1_SHARE

    @cached_property
    def _known(self) -> dict[Loop, list[int]]:
        """The vector counts, ascending, that are known of loops which are else the same; keys have none."""
        known: dict[Loop, list[int]] = {}
        for loop in sorted(self.loops):
            known.setdefault(replace(loop, vectors=0), []).append(loop.vectors)
        return known

    def neighbours(self, loop: Loop) -> dict[Loop, float]:
        """Loops of the cost table, and the weights with which their costs make up those of `loop`.

        Costs are interpolated between the next smaller and the next larger number of vectors; they do not fall below
        the smallest. Fewer rows than any loop has cost what the next larger number of them costs. Empty where a loop
        is not known, or needs more rows or vectors than the largest that is.
        """
        kinds = [kind for kind in self._known if replace(kind, rows=loop.rows) == replace(loop, vectors=0)]
        kind = min((kind for kind in kinds if kind.rows >= loop.rows), key=lambda kind: kind.rows, default=None)
        known = self._known[kind] if kind else []
        if not kind or not known or loop.vectors > known[-1]:
            return {}
        above = next(vectors for vectors in known if vectors >= loop.vectors)
        below = max((vectors for vectors in known if vectors <= loop.vectors), default=above)
        share = 1.0 if above == below else (loop.vectors - below) / (above - below)
        ends = {above: share, below: 1.0 - share} if above != below else {above: 1.0}
        return {replace(kind, vectors=vectors): part for vectors, part in ends.items() if part}

    def loop(self, loop: Loop) -> LoopCost | None:
        """The cost of a loop, interpolated if need be; None where it is not known."""
        if loop not in self._interpolated:
            parts = self.neighbours(loop)
            step_ns = sum(self.loops[known].step_ns * part for known, part in parts.items())
            start_ns = sum(self.loops[known].start_ns * part for known, part in parts.items())
            self._interpolated[loop] = LoopCost(step_ns, start_ns) if parts else None
        return self._interpolated[loop]

    @cached_property
    def _interpolated(self) -> dict[Loop, LoopCost | None]:
        return {}


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file.

    Raises: TargetError: it cannot be read or is no TOML.
    """
    return _table_of(_content(path), path)


def read(path: Path) -> CostTable:
    """Read a cost table.

    Raises: TargetError: the file cannot be read or breaks the schema.
    """
    return _of_content(_content(path), path)


def _content(path: Path) -> bytes:
    return content(path, "a TOML file", TargetError, COSTS, TARGET)


@lru_cache
def _of_content(data: bytes, path: Path) -> CostTable:
    """Every target is read often, and its thousand numbers take longer than all else about it."""
    return parse(_table_of(data, path), str(path))


def _table_of(data: bytes, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as err:  # of TOML, of UTF-8, or a number that is too long
        raise TargetError(f"{path}: not a TOML file: {said(err)}") from err


def parse(table: Mapping[str, Any], where: str) -> CostTable:
    """The cost table in a TOML table.

    Raises: TargetError: the table breaks the schema.
    """
    if table.get("schema") != SCHEMA:
        raise TargetError(f"{where}: schema: got {table.get('schema')!r}, expected {SCHEMA}")
    texts = {key: _text(table, key, where) for key in ("target", "origin", "source")}
    if texts["origin"] not in (MEASURED, ESTIMATED):
        raise TargetError(f"{where}: origin: got {texts['origin']!r}, expected {MEASURED!r} or {ESTIMATED!r}")
    machine = _text(table, "machine", where) if "machine" in table else ""
    costs = Costs(**_numbers(table, "costs", tuple(f.name for f in fields(Costs)), where))
    loops: dict[Loop, LoopCost] = {}
    for name in _table(table, "loops", where):
        loop = Loop.parse(name)
        if loop is None:
            raise TargetError(f"{where}: loops.{name}: expected a name such as sparse_f32_4x1_u4_r1")
        loops[loop] = LoopCost(**_numbers(table["loops"], name, ("step_ns", "start_ns"), f"{where}: loops"))
    share = table.get("l1_share", L1_SHARE)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 100:
        raise TargetError(f"{where}: l1_share: got {share!r}, expected a positive number")
    return CostTable(**texts, costs=costs, loops=loops, machine=machine, l1_share=float(share))


def dump(table: CostTable) -> str:
    """The text of a cost table file."""
    heads = {key: getattr(table, key) for key in ("target", "origin", "source", "machine")}
    lines = [f"schema = {SCHEMA}", *(f"{key} = {quoted(text)}" for key, text in heads.items() if text)]
    lines += [f"l1_share = {table.l1_share}", "", "[costs]"]
    lines += [f"{key} = {_number(value)}" for key, value in asdict(table.costs).items()]
    lines += ["", "[loops]"]
    for loop, cost in sorted(table.loops.items()):
        lines.append(f"{loop.name} = {{ step_ns = {_number(cost.step_ns)}, start_ns = {_number(cost.start_ns)} }}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return repr(float(f"{value:.4g}"))


def quoted(text: str) -> str:
    """A TOML string of one line."""
    plain = " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise TargetError(f"{where}: {key}: got {value!r}, expected a string")
    return value


def _table(table: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = table.get(key)
    if not isinstance(value, Mapping):
        raise TargetError(f"{where}: {key}: got {value!r}, expected a table")
    return value


def _numbers(table: Mapping[str, Any], key: str, names: tuple[str, ...], where: str) -> dict[str, float]:
    """The nanoseconds of a table that must hold exactly `names`."""
    values = _table(table, key, where)
    for name in values:
        if name not in names:
            raise TargetError(f"{where}: {key}.{name}: no such key; expected {', '.join(names)}")
    for name in names:
        value = values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            raise TargetError(f"{where}: {key}.{name}: got {value!r}, expected nanoseconds, 0 or more")
    return {name: float(values[name]) for name in names}
