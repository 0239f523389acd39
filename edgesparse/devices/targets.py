"""Targets: what the compiler knows of a device, read from `targets/*.toml`."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from edgesparse.devices import costs
from edgesparse.devices.costs import CostTable
from edgesparse.devices.host import Host, detect
from edgesparse.errors import TargetError
from edgesparse.isa import ISAS
from edgesparse.numerics import F32, Element

SCHEMA = 1
HOST = "host"


@dataclass(frozen=True)
class Core:
    """What a model of a core's ports needs; each port or pipe starts one operation a cycle."""

    issue_width: int  # operations a cycle
    load_ports: int
    pair_loads: int  # loads that a load of two registers of at most 64 bits counts for
    store_bits: int  # stored in a cycle
    vector_pipes: int
    fma_pipes: int  # vector pipes that a 128-bit multiply-add takes
    fma_latency_cycles: int  # from an accumulator to itself
    mispredict_cycles: int
    l2_latency_cycles: int
    misses_in_flight: int  # misses of L1 that overlap
    l1d_ways: int
    l2_ways: int
    load_pipes: int = 0  # vector pipes that a 128-bit load takes, a narrower one half of that


@dataclass(frozen=True)
class Target:
    """Facts about one device; sizes in bytes, vectors in bits. None where a fact is not known."""

    name: str
    source: str  # where the facts come from
    isa: str  # "x86_64", "aarch64" or "armv7"
    triple: str  # LLVM triple of the device code
    cpu: str  # LLVM -mcpu name
    features: tuple[str, ...]  # LLVM -mattr, such as ("+neon",)
    requires: tuple[str, ...]  # CPU features that the runtime checks, such as ("avx2", "fma")
    vector_bits: int
    registers: int  # vector registers
    l1d_bytes: int
    l2_bytes: int
    cores: int
    summary: str = ""  # the device in words
    clock_hz: int | None = None
    bandwidth_bytes_per_s: int | None = None  # peak of the main memory
    core: Core | None = None
    cost_table: CostTable | None = field(default=None, repr=False)  # None: kernels' costs are estimated

    def lanes(self, element: Element) -> int:
        """Elements in a vector register."""
        return self.vector_bits // element.bits


def folder() -> Path:
    """Where the target files are: in the installed package, or beside it in a checkout."""
    installed = Path(__file__).parents[1] / "targets_data"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "targets"


def names() -> tuple[str, ...]:
    """Every built-in target, `host` first."""
    found = sorted(path.stem for path in folder().glob("*.toml"))
    return tuple(sorted(found, key=lambda name: name != HOST))


def load(name_or_path: str | Path) -> Target:
    """Return a built-in target by name, or the one that a `.toml` file of the user's describes.

    Raises: TargetError: no such target, the file breaks the schema, or this machine fits no candidate of `host`.
    """
    text = str(name_or_path)
    if text.endswith(".toml"):
        return _with_costs(_parse(_read(Path(text)), text), Path(text).parent)
    if text not in names():
        raise TargetError(f"unknown target {text!r}{_suggest(text, names())}; known: {', '.join(names())}")
    path = folder() / f"{text}.toml"
    table = _read(path)
    if text != HOST:
        return _with_costs(_parse(table, str(path)), path.parent)
    target = fit_host(table, str(path), detect())
    own = cached_costs(target)
    return replace(target, cost_table=costs.read(own)) if own.is_file() else target


def facts(target: Target) -> dict[str, Any]:
    """What is known of a target, as the table of a target's file; its cost table is no part of it."""
    table: dict[str, Any] = {"schema": SCHEMA}
    for section, keys in _KEYS.items():
        known = {key: getattr(target, key, None) for key in keys if key != "schema"}
        held = {key: list(value) if isinstance(value, tuple) else value for key, value in known.items()}
        held = {key: value for key, value in held.items() if value not in (None, "")}
        table |= held if section == "" else {section: held}
    if target.core is not None:
        table["core"] = {key: value for key, value in asdict(target.core).items() if value}
    return table


def of_facts(table: Any, where: str) -> Target:
    """The target of such a table, with the cost table that is known here of a target of its name.

    Raises: TargetError: the table breaks the schema.
    """
    if not isinstance(table, Mapping) or table.get("schema") != SCHEMA:
        raise TargetError(f"{where}: got no target facts in schema {SCHEMA}; remedy: compile the model again")
    target = _parse(table, where)
    if target.name in names():
        with contextlib.suppress(TargetError):
            known = load(target.name)
            return known if replace(known, cost_table=None) == target else target
    return _with_costs(target, folder())


def cached_costs(target: Target) -> Path:
    """Where `edgesparse tune` keeps what it measured of a target, for this user; of `host` for each CPU."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    facts = (target.summary, target.l1d_bytes, target.l2_bytes) if target.name == HOST else ()
    key = f"-{hashlib.sha256(repr(facts).encode()).hexdigest()[:8]}" if facts else ""
    return root / "edgesparse" / "costs" / f"{target.name}{key}.toml"


def _with_costs(target: Target, beside: Path) -> Target:
    """The target with its cost table: this user's own, or the one beside the target's file, if there is one."""
    for path in (cached_costs(target), beside / "costs" / f"{target.name}.toml"):
        if path.is_file():
            return replace(target, cost_table=costs.read(path))
    return target


def fit_host(table: Mapping[str, Any], where: str, host: Host) -> Target:
    """The first candidate that `host` can run, with what `host` tells about itself."""
    candidates = [load(name) for name in table["candidates"]]
    same_isa = [candidate for candidate in candidates if candidate.isa == host.isa]
    for base in same_isa:
        if host.features.issuperset(base.requires):
            return replace(
                base,
                name=HOST,
                cost_table=_borrowed(base.cost_table, host),
                summary=f"{host.model}, compiled as {base.name}",
                source="detected" + ("" if host.l1d_bytes and host.l2_bytes else f"; caches assumed as in {base.name}"),
                l1d_bytes=host.l1d_bytes or base.l1d_bytes,
                l2_bytes=host.l2_bytes or base.l2_bytes,
                cores=host.cores,
                clock_hz=None,
                bandwidth_bytes_per_s=None,
            )
    if not same_isa:
        raise TargetError(
            f"{where}: this machine is {host.isa}, which no target describes; name the target to compile for"
        )
    least = same_isa[-1]
    missing = ", ".join(sorted(set(least.requires) - host.features))
    raise TargetError(
        f"{where}: this CPU ({host.model}) lacks {missing}, which {least.name} needs; name another target"
    )


def _borrowed(known: CostTable | None, host: Host) -> CostTable | None:
    """A candidate's cost table on `host`: no more than an estimate unless it was measured on such a CPU."""
    return known if known is None or known.machine == host.model else replace(known, origin=costs.ESTIMATED)


# Key: (type, required). Bare integers are positive.
_KEYS: dict[str, dict[str, tuple[type, bool]]] = {
    "": {"schema": (int, True), "name": (str, True), "summary": (str, False), "source": (str, True)},
    "codegen": {
        "isa": (str, True),
        "triple": (str, True),
        "cpu": (str, True),
        "features": (list, True),
        "requires": (list, True),
    },
    "simd": {"vector_bits": (int, True), "registers": (int, True)},
    "memory": {"l1d_bytes": (int, True), "l2_bytes": (int, True), "bandwidth_bytes_per_s": (int, False)},
    "cpu": {"cores": (int, True), "clock_hz": (int, False)},
}
_NAME = re.compile(r"\w[\w.-]*")
"""Of a target: files are called by it."""

_CORE = {fact.name: (int, fact.default is MISSING) for fact in fields(Core)}
_TYPE_NAMES = {int: "a positive integer", str: "a string", list: "a list of strings", dict: "a table"}


def _read(path: Path) -> dict[str, Any]:
    table = costs.read_toml(path)
    if table.get("schema") != SCHEMA:
        raise TargetError(f"{path}: schema: got {table.get('schema')!r}, expected {SCHEMA}")
    return table


def _parse(table: Mapping[str, Any], where: str) -> Target:
    facts: dict[str, Any] = {}
    for section, keys in _KEYS.items():
        facts |= _read_section(table, section, keys, where)
    _check_codegen(facts, where)
    if not _NAME.fullmatch(facts["name"]):
        raise TargetError(f"{where}: name: got {facts['name']!r}, expected letters, digits, '.', '_' and '-'")
    if "core" in table:
        facts["core"] = Core(**_read_section(table, "core", _CORE, where))
    del facts["schema"]
    facts["features"] = tuple(f if f[0] in "+-" else f"+{f}" for f in facts["features"])
    facts["requires"] = tuple(facts["requires"])
    return Target(**facts)


def _read_section(
    table: Mapping[str, Any], section: str, keys: Mapping[str, tuple[type, bool]], where: str
) -> dict[str, Any]:
    values = _section(table, section, where)
    known = (*keys, *_KEYS, "core") if section == "" else tuple(keys)
    for key in values:
        if key not in known:
            raise TargetError(f"{where}: {_join(section, key)}: no such key{_suggest(key, known)}")
    found = {}
    for key, (kind, required) in keys.items():
        if key in values:
            found[key] = _checked(values[key], kind, f"{where}: {_join(section, key)}")
        elif required:
            raise TargetError(f"{where}: {_join(section, key)}: missing, expected {_TYPE_NAMES[kind]}")
    return found


def _section(table: Mapping[str, Any], section: str, where: str) -> Mapping[str, Any]:
    values = table if section == "" else table.get(section, {})
    if not isinstance(values, Mapping):
        raise TargetError(f"{where}: {section}: got {values!r}, expected a table")
    return values


def _checked(value: Any, kind: type, where: str) -> Any:
    fits = isinstance(value, kind) and not isinstance(value, bool)
    if fits and kind is int:
        fits = value > 0
    if fits and kind is list:
        fits = all(isinstance(item, str) and item for item in value)
    if not fits:
        raise TargetError(f"{where}: got {value!r}, expected {_TYPE_NAMES[kind]}")
    return value


def _check_codegen(facts: Mapping[str, Any], where: str) -> None:
    if facts["isa"] not in ISAS:
        raise TargetError(f"{where}: codegen.isa: got {facts['isa']!r}, expected one of {', '.join(ISAS)}")
    isa = ISAS[facts["isa"]]
    prefixes = isa.architectures
    if not facts["triple"].startswith(prefixes) or "-linux" not in facts["triple"]:
        expected = f"{prefixes[0]}-linux-gnu or another of {facts['isa']} and Linux"
        raise TargetError(f"{where}: codegen.triple: got {facts['triple']!r}, expected {expected}")
    known = isa.bits
    for feature in facts["requires"]:
        if feature not in known:
            listed = ", ".join(sorted(known))
            raise TargetError(f"{where}: codegen.requires: got {feature!r}, expected names among {listed}")
    if facts["vector_bits"] % F32.bits:
        raise TargetError(f"{where}: simd.vector_bits: got {facts['vector_bits']}, expected a multiple of {F32.bits}")


def _join(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


def _suggest(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
