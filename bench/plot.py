"""Speedup against density, break-even marked. Needs the `bench` extra (matplotlib)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from bench.table import Case, ratios

TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30)
Curves = dict[tuple[str, str], list[tuple[float, float]]]


def curves(cases: Sequence[Case], threads: int) -> Curves:
    """(density, speedup by p10 over the fastest dense f32 rival) by model and pattern, ascending.

    The dense point belongs to every pattern of its model.
    """
    found: Curves = defaultdict(list)
    for case in cases:
        if case.threads != threads:
            continue
        plain = [each for each in case.ours if each.contender.precision == "f32"]
        patterns = {each.contender.pattern for each in plain if each.contender.density < 1} or {"dense"}
        for result in plain:
            ratio = ratios(result.latency, case.fastest.latency if case.fastest else None)
            owners = patterns if result.contender.density == 1 else {result.contender.pattern}
            for pattern in owners if ratio else ():
                found[case.model, pattern].append((result.contender.density, ratio[0] if ratio else 0.0))
    return {key: sorted(points) for key, points in found.items()}


def draw(cases: Sequence[Case], output: Path) -> None:
    """Write the plot, one panel for each number of threads; the ending says the format.

    Raises: ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    counts = sorted({case.threads for case in cases})
    models = sorted({case.model for case in cases})
    figure = Figure(figsize=(6 * len(counts), 4.5), layout="constrained")
    for at, threads in enumerate(counts):
        axes = figure.add_subplot(1, len(counts), at + 1)
        for (model, pattern), points in sorted(curves(cases, threads).items()):
            style = "-" if pattern in ("1x1", "dense") else "--"
            x, y = zip(*points, strict=True)
            axes.plot(x, y, style, marker=".", color=f"C{models.index(model)}", label=f"{model}, {pattern}")
        axes.axhline(1.0, color="black", linewidth=0.8)
        axes.annotate("break-even", (0.01, 1.0), xycoords=("axes fraction", "data"), va="bottom")
        axes.set(xscale="log", yscale="log", xlabel="density", title=f"threads: {threads}")
        axes.set_ylabel("speedup over the fastest dense f32 rival")
        axes.set_xticks(sorted({result.contender.density for case in cases for result in case.ours}))
        low, high = axes.get_ylim()
        axes.set_yticks([tick for tick in TICKS if low <= tick <= high])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())
        axes.grid(True, linewidth=0.3)
        axes.legend(fontsize="small")
    figure.savefig(output)
