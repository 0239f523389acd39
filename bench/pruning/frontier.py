"""Accuracy at latency: the fastest artifact within a point of the dense network, against ONNX Runtime in f32 and int8.

    python -m bench.pruning.frontier --data DIR --model resnet20.onnx --recover 3m

Model and images are those of `bench.pruning.oneshot`: a method sees images of the training set without their labels, as
does the quantiser of ONNX Runtime. Accuracy is that on the test images. All that was made runs in turns at the end;
what the output has already, with the same settings, is only measured again. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

import edgesparse
from bench.contenders import EDGESPARSE, RIVALS, Contender
from bench.machine import describe
from bench.pruning.cifar import DATA, DENSE, judged, say
from bench.pruning.latency import folder_of, numbers
from bench.pruning.oneshot import AUGMENT, accuracy
from bench.pruning.results import Results, Run
from bench.rounds import measure
from edgesparse import frontend, reference
from models import cifar
from models.int8 import int8

ONNX_RUNTIME = next(rival for rival in RIVALS if rival.name == "onnxruntime")
THEIRS, INT8 = "onnxruntime", "onnxruntime-int8"
ALLOWED = 0.01
"""Of accuracy, that a model may lose."""

Runs = Mapping[str, Run]


def asked(sparsities: Sequence[float], recover: str) -> dict[str, dict[str, Any]]:
    """Options of `edgesparse.prune` by the name of a run of ours."""
    shares = {f"{100 * share:g}": {"sparsity": share} for share in sparsities}
    recovered = {"recover": recover, "augment": AUGMENT}
    return {
        DENSE: {},
        **{f"zeros-{name}": options for name, options in shares.items()},
        **({f"recovered-{name}": options | recovered for name, options in shares.items()} if recover else {}),
    }


def make(options: argparse.Namespace, results: Results) -> dict[str, np.ndarray]:
    """Prune, quantise, compile and score what `results` do not have yet; returns the images that methods saw."""
    train, test = (cifar.load(options.data / DATA, split) for split in ("train", "test"))
    images, _ = next(train.some(options.calibration).batches(options.calibration))
    samples = {str(frontend.read(options.model).graph.inputs[0].name): images.contiguous().numpy()}
    folder = folder_of(results)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    for name, how in asked(options.sparsities, options.recover).items():
        if not results.done(name):
            say(name)
            path = folder / f"{name}.onnx"
            if name == DENSE:
                shutil.copy(options.model, path)
            else:
                edgesparse.prune(options.model, path, calibration=samples, **how)
            results.add(name, {"runtime": "edgesparse", **judged(path, test)})
    if not results.done(THEIRS):
        results.add(THEIRS, {"runtime": "ONNX Runtime", "accuracy": accuracy(ir.load(folder / f"{DENSE}.onnx"), test)})
    if not results.done(INT8):
        say(INT8)
        batches = [{name: array[at : at + 1] for name, array in samples.items()} for at in range(options.calibration)]
        int8(folder / f"{DENSE}.onnx", folder / f"{INT8}.onnx", batches)
        right = accuracy(ir.load(folder / f"{INT8}.onnx"), test)
        results.add(INT8, {"runtime": "ONNX Runtime int8", "accuracy": right})
    return samples


def contenders(results: Results) -> dict[str, Contender]:
    """What takes turns, by the name of the run."""
    folder = folder_of(results)
    ours = [name for name, run in results.runs.items() if run["runtime"] == "edgesparse"]
    return {
        **{name: Contender(EDGESPARSE, folder / f"{name}.esp", folder / f"{name}.onnx") for name in ours},
        THEIRS: Contender(ONNX_RUNTIME, folder / f"{DENSE}.onnx", folder / f"{DENSE}.onnx"),
        INT8: Contender(ONNX_RUNTIME, folder / f"{INT8}.onnx", folder / f"{DENSE}.onnx", precision="int8"),
    }


def fastest(runs: Runs) -> str:
    """The fastest run of ours that loses no more than is allowed."""
    least = runs[DENSE]["accuracy"] - ALLOWED
    within = [name for name, run in runs.items() if run["runtime"] == "edgesparse" and run["accuracy"] >= least]
    return min(within, key=lambda name: runs[name]["median_us"])


def columns(runs: Runs) -> dict[str, Callable[[Run], str]]:
    """What a table shows of each run."""
    dense, theirs, best = runs[DENSE], runs[THEIRS], runs[fastest(runs)]
    return {
        "runtime": lambda run: run["runtime"],
        "test accuracy": lambda run: f"{run['accuracy']:.1%}",
        "points lost": lambda run: f"{100 * (dense['accuracy'] - run['accuracy']):.1f}",
        "latency, us": lambda run: f"{run['p10_us']:.0f} / {run['median_us']:.0f}",
        "over ONNX Runtime": lambda run: (
            f"{theirs['p10_us'] / run['p10_us']:.2f}x / {theirs['median_us'] / run['median_us']:.2f}x"
        ),
        "": lambda run: "the fastest within a point" if run is best else "",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Make and score what the output does not have yet; measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=f"the folder of {DATA}")
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="a trained ONNX model")
    parser.add_argument("--sparsities", type=numbers, default="0.5,0.6,0.65,0.7,0.75,0.8")
    parser.add_argument("--recover", default="3m", help="how long each recovers too; nothing for none")
    parser.add_argument("--calibration", type=int, default=512, help="images")
    parser.add_argument("--seconds", type=float, default=30.0, help="to measure all of them")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/pruning/frontier.json"))
    options = parser.parse_args(arguments)
    settings = {"model": options.model.name, "calibration": options.calibration, "recover": options.recover}
    results = Results(options.output, settings)
    samples = make(options, results)
    image = {name: array[:1] for name, array in samples.items()}

    def expected(path: Path) -> Mapping[str, np.ndarray]:
        return reference.evaluate(path, image)

    machine = describe()
    chosen = contenders(results)
    timed = measure(list(chosen.values()), 1, image, expected, options.seconds, folder_of(results) / "logs")
    for name, result in zip(chosen, timed, strict=True):
        if result.latency is None:
            raise SystemExit(f"{name}: {result.unavailable}")
        figures = {"p10_us": result.latency.p10_us, "median_us": result.latency.median_us}
        results.add(name, results.runs[name] | figures)
    results.add(DENSE, results.runs[DENSE] | {"machine": asdict(machine)})
    words = (
        f"One thread of {machine.cpu}, batch 1, p10 / median, in turns; {options.calibration} training images without "
        f"labels; recovered for {options.recover or 'no time'}. All but the int8 model compute in f32."
    )
    results.write_table(columns(results.runs), words)
    print(results.path.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
