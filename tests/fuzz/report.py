"""A page that says what was judged so far: counts, how full the tables of coverage are, and what is not covered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tests.fuzz.coverage import ENOUGH, Coverage, Key

HEAD = """# What the fuzzer has judged

Written by `python -m tests.fuzz --report {path}`, from what its runs on one machine add up to."""


def report(coverage: Coverage, path: object) -> str:
    """The page, as Markdown."""
    lines = [HEAD.format(path=path), "", "| graphs | |", "|---|---|"]
    lines += [f"| {name} | {count:,} |" for name, count in _counts(coverage)]
    lines += ["", "## Tables", "", f"A cell is full with {ENOUGH} uses that were judged.", ""]
    lines += ["| operator x | cells | full | 1 to 4 | none | ONNX Runtime has no kernel |", "|---|---|---|---|---|---|"]
    for name, state in coverage.state().items():
        counts = [len(cells) for cells in (state.full, state.some, state.none, state.never)]
        lines.append(f"| {name} | {sum(counts):,} | {' | '.join(f'{count:,}' for count in counts)} |")
    for name, state in coverage.state().items():
        if state.none:
            lines += ["", f"None by {name}:", "", *_by_last(state.none)]
    return "\n".join([*lines, ""])


def _counts(coverage: Coverage) -> Iterator[tuple[str, int]]:
    """Sums, then what else was right, then what was not judged."""
    judged = coverage.judged
    yield from ((name, judged[name]) for name in ("graphs", "right", "findings"))
    for way, count in sorted(judged.items()):
        if way.startswith("also right: "):
            yield way, count
    invalid = "refused: broken: "
    yield "refused by one line", _sum(judged, "refused: ") - _sum(judged, invalid)
    yield "not judged by ONNX Runtime", _sum(judged, "not judged: ")
    yield "invalid models besides, refused by one line", _sum(judged, invalid)


def _sum(judged: Mapping[str, int], start: str) -> int:
    return sum(count for name, count in judged.items() if name.startswith(start))


def _by_last(cells: Iterable[Key]) -> Iterator[str]:
    """Cells in lines, by what stands second."""
    groups: dict[str, list[str]] = {}
    for *key, last in cells:
        groups.setdefault(str(last), []).append(str(key[0]))
    for last, operators in sorted(groups.items()):
        yield f"- {last}: {', '.join(operators)}"
