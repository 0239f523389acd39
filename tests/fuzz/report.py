"""A page that says what was judged so far: counts, how full the tables of coverage are, and what is not covered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.fuzz.coverage import ENOUGH, Coverage, Key

HEAD = """# What the fuzzer has judged

Written by `python -m tests.fuzz --report {path}`, from what its runs on one machine add up to."""


def report(coverage: Coverage, path: object) -> str:
    """The page, as Markdown."""
    lines = [HEAD.format(path=path), "", "| graphs | |", "|---|---|"]
    lines += [f"| {name} | {count:,} |" for name, count in _counts(coverage)]
    lines += ["", "## Tables", "", f"A cell is full with {ENOUGH} uses that were judged.", ""]
    lines += ["| operator x | cells | full | less | ONNX Runtime has no kernel |", "|---|---|---|---|---|"]
    state = coverage.state()
    for name, (full, lacking, never) in state.items():
        total = len(full) + len(lacking) + len(never)
        lines.append(f"| {name} | {total:,} | {len(full):,} | {len(lacking):,} | {len(never):,} |")
    for name, (_, lacking, _) in state.items():
        if lacking:
            lines += ["", f"Less than {ENOUGH} by {name}:", *_by_last(lacking)]
    return "\n".join([*lines, ""])


def _counts(coverage: Coverage) -> Iterator[tuple[str, int]]:
    """Sums first, then the reasons."""
    judged = coverage.judged
    yield from ((name, judged[name]) for name in ("graphs", "right", "findings"))
    for kind in ("also right", "refused", "not judged"):
        reasons = {name: count for name, count in judged.items() if name.startswith(f"{kind}: ")}
        if kind == "also right":
            yield from sorted(reasons.items())
        elif reasons:
            yield f"{kind}, for {len(reasons)} reasons", sum(reasons.values())


def _by_last(cells: Iterable[Key]) -> Iterator[str]:
    """Cells in lines, by what stands second."""
    groups: dict[str, list[str]] = {}
    for *key, last in cells:
        groups.setdefault(str(last), []).append(str(key[0]))
    for last, operators in sorted(groups.items()):
        yield f"- {last}: {', '.join(operators)}"
