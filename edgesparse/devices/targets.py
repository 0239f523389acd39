"""Targets: what the compiler knows of a device, read from `targets/*.toml`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgesparse.devices import costs, cpu, schema
from edgesparse.devices.costs import CostTable
from edgesparse.devices.cpu import Cpu
from edgesparse.devices.host import Host, detect
from edgesparse.errors import TargetError
from edgesparse.package.records import MAX_PROGRAMS

SCHEMA = 1
HOST = "host"


@dataclass(frozen=True)
class Target:
    """One device: what it is called, and facts about it."""

    name: str
    source: str  # where the facts come from
    cpu: Cpu
    summary: str = ""  # the device in words
    cost_table: CostTable | None = field(default=None, repr=False)  # None: kernels' costs are estimated


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
    if "," in text and not _is_file(text):
        raise TargetError(f"target: got {schema.shortened(text)}, expected one target")
    if text.endswith(".toml"):
        return _with_costs(_parse(_read(Path(text)), text), Path(text).parent)
    if text not in names():
        raise TargetError(
            f"unknown target {schema.shortened(text)}{schema.suggested(text, names())}; known: {', '.join(names())}"
        )
    path = folder() / f"{text}.toml"
    table = _read(path)
    if text != HOST:
        return _with_costs(_parse(table, str(path)), path.parent)
    target = fit_host(table, str(path), detect())
    own = cached_costs(target)
    return replace(target, cost_table=costs.read(own)) if own.is_file() else target


def load_all(wanted: str | Path | Target | Sequence[str | Path | Target]) -> tuple[Target, ...]:
    """Targets by names or files, several after commas.

    Raises: TargetError: there is no such target, one is named twice, or there are more than an artifact holds.
    """
    if isinstance(wanted, str) and not _is_file(wanted):
        wanted = [name.strip() for name in wanted.split(",")]
    given = [wanted] if isinstance(wanted, str | Path | Target) else wanted
    if not isinstance(given, Sequence) or not 1 <= len(given) <= MAX_PROGRAMS:
        raise TargetError(f"target: got {schema.shortened(given)}, expected 1 to {MAX_PROGRAMS} targets")
    found = [checked(each) if isinstance(each, Target) else load(each) for each in given]
    names = [target.name for target in found]
    if len(set(names)) < len(names):
        raise TargetError(f"target: got {', '.join(names)}, expected different targets")
    return tuple(found)


def ranked(found: Sequence[Target]) -> tuple[Target, ...]:
    """Targets in the order in which artifacts list their plans, the best first.

    Those that need most of a CPU are first; of those that need as much, the ones that are tuned for any core.
    """
    return tuple(sorted(found, key=lambda target: (-len(set(target.cpu.requires)), target.cpu.midr is not None)))


def checked(target: Target, where: str = "target") -> Target:
    """A target that somebody made, if its facts could be those of a file: an artifact carries them.

    Raises: TargetError: they could not.
    """
    _parse(facts(target), where)
    return target


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # no name that a file can have
        return False


def facts(target: Target) -> dict[str, Any]:
    """What is known of a target, as the table of a target's file; its cost table is no part of it."""
    return {"schema": SCHEMA, **schema.write(target), **cpu.write(target.cpu)}


def dump(target: Target) -> str:
    """The text of a target's file."""
    table = facts(target)
    lines = [f"{key} = {_toml(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for name, values in table.items():
        if isinstance(values, dict):
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value, key)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _toml(fact: str | int | list[str], key: str = "") -> str:
    if key == "midr":
        return f"{fact:#x}"
    if isinstance(fact, list):
        return f"[{', '.join(map(costs.quoted, fact))}]"
    return costs.quoted(fact) if isinstance(fact, str) else str(fact)


def flat(target: Target) -> dict[str, Any]:
    """The same as one list, by the names that a target's file has for them; None where a fact is not known."""
    return {**schema.named(target), **schema.named(target.cpu), cpu.CORE: target.cpu.core}


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
    facts = (target.summary, target.cpu.l1d_bytes, target.cpu.l2_bytes) if target.name == HOST else ()
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
    same_isa = [candidate for candidate in candidates if candidate.cpu.isa == host.isa]
    for base in same_isa:
        if host.features.issuperset(base.cpu.requires):
            return _detected(base, host)
    if not same_isa:
        raise TargetError(
            f"{where}: this machine is {host.isa}, which no target describes; name the target to compile for"
        )
    least = same_isa[-1]
    missing = ", ".join(sorted(set(least.cpu.requires) - host.features))
    raise TargetError(
        f"{where}: this CPU ({host.model}) lacks {missing}, which {least.name} needs; name another target"
    )


def _detected(base: Target, host: Host) -> Target:
    """A candidate that `host` can run, with what `host` tells about itself."""
    found = replace(
        base.cpu,
        l1d_bytes=host.l1d_bytes or base.cpu.l1d_bytes,
        l2_bytes=host.l2_bytes or base.cpu.l2_bytes,
        cores=host.cores,
        clock_hz=None,
        bandwidth_bytes_per_s=None,
        core_bandwidth_bytes_per_s=None,
        l3_bytes=None,
        midr=None,
    )
    return Target(
        name=HOST,
        source="detected" + ("" if host.l1d_bytes and host.l2_bytes else f"; caches assumed as in {base.name}"),
        cpu=found,
        summary=f"{host.model}, compiled as {base.name}",
        cost_table=_borrowed(base.cost_table, host),
    )


def _borrowed(known: CostTable | None, host: Host) -> CostTable | None:
    """A candidate's cost table on `host`: no more than an estimate unless it was measured on such a CPU."""
    return known if known is None or known.machine == host.model else replace(known, origin=costs.ESTIMATED)


_NAME = re.compile(r"\w[\w.-]*")
"""Of a target: files are called by it."""


def is_name(text: str) -> bool:
    """Whether a target may be called so."""
    return bool(_NAME.fullmatch(text))


def _read(path: Path) -> dict[str, Any]:
    table = costs.read_toml(path)
    if table.get("schema") != SCHEMA:
        raise TargetError(f"{path}: schema: got {table.get('schema')!r}, expected {SCHEMA}")
    return table


def _parse(table: Mapping[str, Any], where: str) -> Target:
    named = schema.read(Target, table, where, beside=("schema", *cpu.TABLES))
    if not is_name(named["name"]):
        raise TargetError(f"{where}: name: got {named['name']!r}, expected letters, digits, '.', '_' and '-'")
    return Target(**named, cpu=cpu.read(table, where))
