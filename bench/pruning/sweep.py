"""Prune a trained ONNX model in one shot by every method, to several densities, and score what is left of it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from bench.pruning.deploy import deploy, verdict
from bench.pruning.results import Columns, Results, some_of
from edgesparse import frontend
from edgesparse.measure import Arrays
from edgesparse.prune import METHODS, prune

DENSE = "dense"
PATTERNS: dict[str, tuple[float | None, str]] = {"50": (0.5, "1x1"), "2of4": (None, "2:4"), "80": (0.2, "1x1")}
"""Density and pattern by the name that a run ends with."""


def names(patterns: Sequence[str]) -> list[str]:
    """The dense model, then every method at every pattern."""
    return [DENSE, *(f"{method}-{pattern}" for pattern in patterns for method in METHODS)]


def parsed(
    parser: argparse.ArgumentParser, patterns: Sequence[str], output: Path, arguments: Sequence[str] | None
) -> argparse.Namespace:
    """What the command line asks `parser` for, and besides: `calibration`, `runs` of `names`, and `output`."""
    known = names(patterns)
    parser.add_argument("--calibration", type=int, default=256, help="samples")
    parser.add_argument("--runs", default=",".join(known), help="some of %(default)s")
    parser.add_argument("-o", "--output", type=Path, default=output)
    options = parser.parse_args(arguments)
    options.runs = some_of(parser, options.runs, known)
    return options


def sweep(
    model: Path,
    runs: Sequence[str],
    results: Results,
    *,
    score: Callable[[Path], float],
    calibration: Mapping[str, np.ndarray],
    inputs: Arrays,
    skip: Sequence[str] = (),
) -> None:
    """Do the runs that `results` does not have yet.

    Args:
        model: the dense model.
        runs: some of `names`.
        score: what to keep of a model, given its file.
        calibration: samples for methods that ask for them.
        inputs: what the artifact and ONNX Runtime are compared on.
        skip: layers that stay dense.
    """
    folder = results.path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for name in runs:
        if results.done(name):
            continue
        print(name, flush=True)
        path = folder / f"{name}.onnx"
        started = time.perf_counter()
        pruned = frontend.read(model)
        if name != DENSE:
            method, _, pattern = name.rpartition("-")
            density, shape = PATTERNS[pattern]
            pruned = prune(
                pruned, density, method=method, match="own", pattern=shape, skip=skip, calibration=calibration
            ).model
        seconds = time.perf_counter() - started
        ir.save(pruned, path)
        results.add(name, {"score": score(path), "seconds": seconds, **deploy(path, inputs).facts})


def columns(title: str, show: Callable[[float], str]) -> Columns:
    """What a table shows of each run; `title` and `show` are those of the score."""
    return {
        "weights left": lambda run: f"{run['density']:.1%}",
        title: lambda run: show(run["score"]),
        "artifact, KB": lambda run: f"{run['artifact_bytes'] / 1e3:.0f}",
        "agrees with ONNX Runtime": verdict,
        "seconds to prune": lambda run: f"{run['seconds']:.1f}",
    }
