"""Accuracy against latency of every candidate: JSON, and a plot where matplotlib is installed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from edgesparse.search.accuracy import Point
from edgesparse.search.state import replace


def front(points: Sequence[Point]) -> list[Point]:
    """Candidates that none is both faster and better than, the fastest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.latency_us, -p.score)):
        if not best or point.score > best[-1].score:
            best.append(point)
    return best


def write_pareto(points: Sequence[Point], folder: Path, target: str) -> tuple[Path, ...]:
    """Write pareto.json and, with matplotlib, pareto.svg into `folder`."""
    path = folder / "pareto.json"
    on_front = front(points)
    rows = [asdict(point) | {"on_front": point in on_front} for point in points]
    replace(path, json.dumps({"target": target, "candidates": rows}, indent=2).encode())
    plot = folder / "pareto.svg"
    return (path, plot) if _plotted(points, on_front, plot, target) else (path,)


def _plotted(points: Sequence[Point], on_front: Sequence[Point], path: Path, target: str) -> bool:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for holds, marker, label in ((True, "o", "holds"), (False, "x", "drops too far")):
        chosen = [point for point in points if point.holds is holds]
        axes.scatter([p.latency_us / 1e3 for p in chosen], [p.score for p in chosen], marker=marker, label=label)
    axes.plot([p.latency_us / 1e3 for p in on_front], [p.score for p in on_front], linewidth=1, color="gray")
    axes.set_xlabel(f"predicted latency on {target}, ms")
    axes.set_ylabel("score")
    axes.legend()
    figure.savefig(path)
    return True
