"""Score against latency of every candidate: JSON, and a plot where matplotlib is installed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from edgesparse.errors import SearchError
from edgesparse.outputs import written
from edgesparse.search.accuracy import Candidate


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates that no other equals or beats in both latency and score, the fastest first."""
    best: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.latency_us, -c.score)):
        if not best or candidate.score > best[-1].score:
            best.append(candidate)
    return best


def write_pareto(candidates: Sequence[Candidate], path: Path, axis: str) -> tuple[Path, ...]:
    """Write `path`, a .json, and with matplotlib a plot beside it.

    Args:
        axis: what the latencies are, such as "predicted latency on rpi4".

    Raises: SearchError: a file cannot be written.
    """
    best, plot = front(candidates), path.with_suffix(".svg")
    rows = [asdict(candidate) | {"on_front": candidate in best} for candidate in candidates]
    try:
        with written(path, SearchError) as temporary:
            temporary.write_text(json.dumps({"latency": axis, "candidates": rows}, indent=2))
        return (path, plot) if _plotted(candidates, best, plot, axis) else (path,)
    except OSError as err:
        raise SearchError(f"{path}: cannot be written: {err.strerror or err}") from err


def _plotted(candidates: Sequence[Candidate], best: Sequence[Candidate], path: Path, axis: str) -> bool:
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for holds, marker, label in ((True, "o", "holds"), (False, "x", "drops too far")):
        chosen = [candidate for candidate in candidates if candidate.holds is holds]
        axes.scatter([c.latency_us / 1e3 for c in chosen], [c.score for c in chosen], marker=marker, label=label)
    axes.plot([c.latency_us / 1e3 for c in best], [c.score for c in best], linewidth=1, color="gray", zorder=0)
    axes.set_xlabel(f"{axis}, ms")
    axes.set_ylabel("score")
    axes.legend()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(path)
    return True
