"""Budgets of latency on this machine: how near artifacts come, and their accuracy against uniform sparsity.

    python -m bench.pruning.latency --data DIR --model resnet20.onnx --speedups 1.2,1.4,1.6

Model, images and accuracy are those of `bench.pruning.cifar`. For each budget, a share of what the dense model takes,
it is pruned by `--speedup`; for the comparison, to one density in all layers. Nothing is trained. Then all artifacts
run in turns; those that the output has already, with the same settings, are only measured again. Leave the machine
alone meanwhile.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

import edgesparse
from bench.machine import describe
from bench.pruning.cifar import DATA, DENSE, judged, say
from bench.pruning.deploy import verdict
from bench.pruning.results import Results, Run
from edgesparse import frontend, measure
from edgesparse.devices.local import LOCAL
from models import cifar

SEARCHED, UNIFORM = "searched", "uniform"
Runs = Mapping[str, Run]


def asked(speedups: Sequence[float], densities: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Options of `edgesparse.prune` by the name of a run."""
    searched = {f"{SEARCHED}-{speedup:g}": {"speedup": speedup} for speedup in speedups}
    uniform = {f"{UNIFORM}-{share:g}": {"sparsity": 1 - share, "allocation": UNIFORM} for share in densities}
    return {DENSE: {}, **searched, **uniform}


def measured_us(artifacts: Mapping[str, Path], seconds: float) -> dict[str, float]:
    """p10 of the latency of each, run in turns.

    Args: seconds: for each of them.
    """
    with ExitStack() as stack:
        sessions = {name: stack.enter_context(LOCAL.open(artifact)) for name, artifact in artifacts.items()}
        feeds = measure.random_feeds(sessions[DENSE].inputs)
        timed = measure.take_turns(sessions, feeds, seconds * len(sessions))
    return {name: latency.p10_us for name, latency in timed.items()}


def of_budget(run: Run, dense: Run) -> float | None:
    """The latency over what was allowed, for a model that was searched."""
    return run["us"] * run["speedup"] / dense["us"] if "speedup" in run else None


def uniform_accuracy(runs: Runs, us: float) -> float:
    """The accuracy of uniform sparsity at a latency, interpolated between the models that were measured."""
    return float(np.interp(us, *_curve(runs, UNIFORM)))


def _curve(runs: Runs, kind: str) -> tuple[list[float], list[float]]:
    """Latencies and accuracies of the runs of a kind, and the dense one; the fastest first."""
    points = sorted((run["us"], run["accuracy"]) for name, run in runs.items() if name.startswith((kind, DENSE)))
    return [us for us, _ in points], [accuracy for _, accuracy in points]


def columns(runs: Runs) -> dict[str, Callable[[Run], str]]:
    """What a table shows of each run."""
    dense = runs[DENSE]

    def near(run: Run) -> str:
        share = of_budget(run, dense)
        return "" if share is None else f"{share:.0%}"

    return {
        "latency, us": lambda run: f"{run['us']:.0f}",
        "over dense": lambda run: f"{dense['us'] / run['us']:.2f}x",
        "of the budget": near,
        "weights left": lambda run: f"{run['density']:.1%}",
        "test accuracy": lambda run: f"{run['accuracy']:.2%}",
        "uniform, as fast": lambda run: f"{uniform_accuracy(runs, run['us']):.2%}" if "speedup" in run else "",
        "agrees with ONNX Runtime": verdict,
    }


def draw(runs: Runs, path: Path) -> None:
    """Accuracy against latency, budgets marked."""
    dense = runs[DENSE]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for kind, label in ((SEARCHED, "densities by search"), (UNIFORM, "one density for all layers")):
        axes.plot(*_curve(runs, kind), marker="o", markersize=4, label=label)
    for run in runs.values():
        if "speedup" in run:
            budget_us = dense["us"] / run["speedup"]
            axes.axvline(budget_us, color="gray", linewidth=0.8, linestyle="--")
            axes.annotate(f" {run['speedup']:g}x", (budget_us, 0), xycoords=("data", "axes fraction"), va="bottom")
    axes.set(xlabel="latency, us (p10)", ylabel="test accuracy")
    axes.legend()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prune, compile and score what the output does not have yet; measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=f"the folder of {DATA}")
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="a trained ONNX model")
    parser.add_argument("--speedups", type=numbers, default="1.2,1.4,1.6")
    parser.add_argument("--densities", type=numbers, default="0.2,0.25,0.3,0.35,0.4,0.45,0.5,0.6")
    parser.add_argument("--method", default="sparsegpt")
    parser.add_argument("--images", type=int, help="test on so many only")
    parser.add_argument("--calibration", type=int, default=512, help="images")
    parser.add_argument("--seconds", type=float, default=3.0, help="to measure each artifact")
    parser.add_argument("--resume", action="store_true", help="go on with a search that was interrupted")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/pruning/latency.json"))
    options = parser.parse_args(arguments)
    settings = {name: getattr(options, name) for name in ("method", "images", "calibration")}
    results = Results(options.output, {"model": options.model.name, **settings})
    make(options, asked(options.speedups, options.densities), results)
    machine = describe()
    us = measured_us({name: folder_of(results) / f"{name}.esp" for name in results.runs}, options.seconds)
    for name in us:
        results.add(name, results.runs[name] | {"us": us[name]})
    results.add(DENSE, results.runs[DENSE] | {"machine": asdict(machine)})
    results.write_table(columns(results.runs), note(results.runs, settings, machine.cpu))
    draw(results.runs, results.path.with_suffix(".svg"))
    print(results.path.with_suffix(".md").read_text())


def make(options: argparse.Namespace, chosen: Mapping[str, dict[str, Any]], results: Results) -> None:
    """Prune, compile and score what `results` do not have yet."""
    train, test = (cifar.load(options.data / DATA, split) for split in ("train", "test"))
    images, _ = next(train.some(options.calibration).batches(options.calibration))
    samples = {frontend.read(options.model).graph.inputs[0].name or "": images.contiguous().numpy()}
    folder = folder_of(results)
    folder.mkdir(parents=True, exist_ok=True)
    resume = options.resume
    for name, amount in chosen.items():
        if results.done(name):
            continue
        say(name)
        path = folder / f"{name}.onnx"
        if name == DENSE:
            shutil.copy(options.model, path)
        else:
            how: dict[str, Any] = {"method": options.method, "match": "own", "calibration": samples, "resume": resume}
            edgesparse.prune(options.model, path, progress=lambda stage, share=None: say(stage), **amount, **how)
            resume = resume or "speedup" in amount  # budgets of one model share what is learned of it
        results.add(name, {**amount, **judged(path, test.some(options.images))})


def folder_of(results: Results) -> Path:
    """Where models and artifacts are kept."""
    return results.path.with_suffix("")


def numbers(text: str) -> list[float]:
    """Several numbers of the command line."""
    return [float(number) for number in text.split(",") if number]


def note(runs: Runs, settings: Mapping[str, Any], cpu: str) -> str:
    """What a table does not say."""
    searched = [run for run in runs.values() if "speedup" in run]
    near = sum(abs((of_budget(run, runs[DENSE]) or 0.0) - 1) <= 0.1 for run in searched)
    better = sum(run["accuracy"] > uniform_accuracy(runs, run["us"]) for run in searched)
    return (
        f"{settings['method']} with {settings['calibration']} training images, no training; one thread of {cpu}, "
        f'p10. "uniform, as fast" is interpolated. Of {len(searched)} searched models {near} are within 10 % of their '
        f"budget, and {better} beat uniform sparsity."
    )


if __name__ == "__main__":
    main()
