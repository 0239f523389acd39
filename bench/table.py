"""What was measured, as Markdown: ratios against every rival and against the fastest of the dense ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.contenders import EDGESPARSE, Contender, Result
from bench.limit import GROUPS, Limit, others
from bench.machine import Machine
from edgesparse.measure import Latency

NOTHING = "-"


@dataclass(frozen=True)
class Case:
    """One model on some threads: everything that was measured in turns, edgesparse and rivals."""

    model: str
    threads: int
    results: tuple[Result, ...]
    limits: tuple[Limit, ...] = ()

    @property
    def ours(self) -> list[Result]:
        """What edgesparse reached, in the order measured."""
        return [result for result in self.results if result.contender.runtime == EDGESPARSE]

    @property
    def rivals(self) -> list[Result]:
        """What the others reached."""
        return [result for result in self.results if result.contender.runtime != EDGESPARSE]

    @property
    def fastest(self) -> Result | None:
        """The rival that is made for dense models with the lowest p10 in f32; None if none could run it."""
        return self.fastest_in("f32")

    def fastest_in(self, precision: str) -> Result | None:
        """The same among those with models of another element type."""
        dense = [each for each in self.rivals if "dense" in each.contender.runtime.forms]
        able = [each for each in dense if each.latency and each.contender.precision == precision]
        return min(able, key=_p10, default=None)

    def rival(self, title: str, ours: Contender) -> Result | None:
        """The result of a rival to hold against `ours`: of the same density if that rival uses zeros."""
        named = [result for result in self.rivals if result.contender.title == title]
        sparse = [result for result in named if "pruned" in result.contender.runtime.forms]
        if not sparse:
            return named[0] if named else None
        zeros = (ours.density, ours.pattern)
        return next((each for each in sparse if (each.contender.density, each.contender.pattern) == zeros), None)


@dataclass(frozen=True)
class Report:
    """All cases, and what it takes to judge them."""

    command: str
    machine: Machine
    cases: tuple[Case, ...] = field(default=())


def ratios(ours: Latency | None, theirs: Latency | None) -> tuple[float, float] | None:
    """How many times faster ours is: by p10, and by median; None if either is missing."""
    return (theirs.p10_us / ours.p10_us, theirs.median_us / ours.median_us) if ours and theirs else None


def markdown(report: Report) -> str:
    """Every table, and below them what it takes to judge them."""
    machine = report.machine
    versions = dict(machine.versions)
    for case in report.cases:
        for result in case.results:
            versions |= result.versions
    where = f"{machine.cpu}, {machine.cores} cores, load {machine.load}"
    says = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join(
        [
            "Speedup over the fastest of the rivals with the dense f32 model, p10 / median, batch 1. All runtimes of a",
            "model run in turns, each in its own process, the others stopped meanwhile.",
            "",
            *_overview(report.cases),
            "",
            *_of_bytes(report.cases),
            "Milliseconds and speedups are p10 / median. Below the name of a rival is the speedup over it, with the",
            "dense model unless it uses zeros.",
            "",
            *_speedups(report.cases),
            "",
            *_rivals(report.cases),
            "",
            *_artifacts(report.cases),
            *_limits([limit for case in report.cases for limit in case.limits]),
            *_missing(report.cases),
            f"Measured by `{report.command}` on {machine.date}: {where}; {says}.",
            "",
        ]
    )


def _overview(cases: Iterable[Case], precision: str | None = None, over: str = "f32") -> list[str]:
    """A row for what was pruned how, a column for each model."""
    cases = list(cases)
    models = list(dict.fromkeys(case.model for case in cases))
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for case in cases:
        fastest = case.fastest_in(over)
        for ours in case.ours:
            if precision not in (None, ours.contender.precision):
                continue
            row = (str(case.threads), ours.contender.precision, f"{ours.contender.density:g}", _pattern(ours.contender))
            speedup = _ratio(ours.latency, fastest.latency if fastest else None)
            cells.setdefault(row, {})[case.model] = speedup
    rows = [[*row, *(found.get(model, NOTHING) for model in models)] for row, found in cells.items()]
    return _table([["threads", "type", "density", "pattern", *models], *rows])


def _of_bytes(cases: Sequence[Case]) -> list[str]:
    """The same of models of 8 bits, against rivals with these."""
    if not any(ours.contender.precision == "int8" for case in cases for ours in case.ours):
        return []
    head = "Models of 8 bits against the fastest of the rivals with the dense model of 8 bits:"
    return [head, "", *_overview(cases, "int8", over="int8"), ""]


def _speedups(cases: Iterable[Case]) -> list[str]:
    cases = list(cases)
    titles = list(dict.fromkeys(result.contender.title for case in cases for result in case.rivals if result.latency))
    rows = [["model", "threads", "type", "density", "pattern", "edgesparse, ms", "speedup", "over", *titles]]
    for case in cases:
        fastest = case.fastest
        for result in case.ours:
            contender = result.contender
            found = [case.rival(title, contender) for title in titles]
            rows.append(
                [
                    case.model,
                    str(case.threads),
                    contender.precision,
                    f"{contender.density:g}",
                    _pattern(contender),
                    _ms(result.latency),
                    _ratio(result.latency, fastest.latency if fastest else None),
                    fastest.contender.title if fastest else NOTHING,
                    *(_ratio(result.latency, each.latency if each else None) for each in found),
                ]
            )
    return _table(rows)


def _rivals(cases: Iterable[Case]) -> list[str]:
    rows = [["model", "threads", "runtime", "density", "ms", "runs", "relative error"]]
    for case in cases:
        for result in case.rivals:
            if result.latency:
                cells = [case.model, str(case.threads), result.contender.title, f"{result.contender.density:g}"]
                error = NOTHING if result.error is None else f"{result.error:.1g}"
                rows.append([*cells, _ms(result.latency), str(result.latency.runs), error])
    return _table(rows)


def _artifacts(cases: Iterable[Case]) -> list[str]:
    rows = [["model", "type", "density", "pattern", "artifact, MB", "sparse layers", "compile, s"]]
    for model, ours in {case.model: case.ours for case in cases}.items():
        for contender in (result.contender for result in ours):
            if facts := contender.facts:
                cells = [model, contender.precision, f"{contender.density:g}", _pattern(contender)]
                layers = f"{facts['sparse_layers']} of {facts['weighted_layers']}"
                rows.append([*cells, f"{facts['artifact_bytes'] / 1e6:.1f}", layers, f"{facts['compile_seconds']:.0f}"])
    return [*_table(rows), ""] if len(rows) > 1 else []


def _limits(limits: Sequence[Limit]) -> list[str]:
    """The limit report; every group of steps by its share of the time, the smallest of the others summed up."""
    if not limits:
        return []
    named = others(limits)[:4]
    head = ["model", "density", "pattern", "ms", "nonzero GFLOP", "GFLOP/s from L1", "limit, ms", "times the limit"]
    rows = [[*head, *GROUPS, *named, "rest"]]
    for each in limits:
        shares = [each.share(group) for group in (*GROUPS, *named)]
        figures = [f"{each.p10_us / 1e3:.2f}", f"{each.flops / 1e9:.3f}", f"{each.peak_gflops:.0f}"]
        figures += [f"{each.limit_us / 1e3:.2f}", f"{each.times:.1f}"]
        cells = [each.model, f"{each.density:g}", _pattern(each), *figures]
        rows.append([*cells, *(f"{share:.0%}" for share in (*shares, max(0.0, 1 - sum(shares))))])
    return [
        "How far from the limit of this machine, on one thread: the operations on nonzeros, and of matmuls of",
        "activations, at the speed of multiply-adds fed from L1, measured in the same turns; and where the time goes.",
        "",
        *_table(rows),
        "",
    ]


def _missing(cases: Iterable[Case]) -> list[str]:
    lines = [
        f"- {result.contender.title}, {case.model} at density {result.contender.density:g} {result.contender.pattern}, "
        f"threads {case.threads}: unavailable: {result.unavailable}"
        for case in cases
        for result in case.results
        if result.unavailable
    ]
    return [*lines, ""] if lines else []


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def _pattern(each: Contender | Limit) -> str:
    return each.pattern if each.density < 1 else NOTHING


def _ms(latency: Latency | None) -> str:
    return f"{latency.p10_us / 1e3:.2f} / {latency.median_us / 1e3:.2f}" if latency else "unavailable"


def _ratio(ours: Latency | None, theirs: Latency | None) -> str:
    found = ratios(ours, theirs)
    return f"{found[0]:.2f}x / {found[1]:.2f}x" if found else NOTHING


def _p10(result: Result) -> float:
    return result.latency.p10_us if result.latency else float("inf")
