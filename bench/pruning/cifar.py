"""Prune a network for CIFAR-10 in several ways, and hold each against the dense one trained as long.

    python -m bench.pruning.cifar --data DIR --model resnet20.onnx --epochs 10 --threads 2
    python -m bench.pruning.cifar --data DIR --model resnet20.onnx --runs dense,gradual-90 --images 1280 --epochs 1

DIR holds cifar10_jpeg_dev.npz, as `models/cifar.py` reads it. "dense" trains the given model on. One-shot runs prune
what that gave; runs that train start from the given model, from random weights, or, to lose channels, from what "dense"
gave, and train as many epochs. Networks are trained on the training images only; accuracy is that of the compiled
artifact on the test images. A run that is in the output already, with the same settings, is not done again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from bench.pruning.deploy import deploy, verdict
from bench.pruning.results import Results
from edgesparse import frontend
from edgesparse.devices.local import LOCAL
from edgesparse.prune import METHODS, prune
from edgesparse.prune.structured import shrink
from edgesparse.sparsity.weights import find_weights
from edgesparse.torch import GradualPruning, Masks, RigL
from models import cifar, trainable
from models.cifar import Images, Recipe

DATA = "cifar10_jpeg_dev.npz"
FINETUNE_RATE, SCRATCH_RATE = 0.02, 0.2
RELEARN_RATE = 0.06  # where little is left; as in training: Renda et al. 2020, arXiv:2003.02389
TEACHING = 0.7
PRUNED_BY, EVERY = 0.6, 20  # gradual pruning: share of the steps after which it ends, and steps between
MOVED_UNTIL, MOVED_EVERY = 0.75, 100  # RigL, as in its paper
IMPORTANCE, MULTIPLE = "activation", 4  # of channels, and what is left of them
DENSE = "dense"

Step = Callable[[], object]
"""What stands in for the step of an optimizer."""


@dataclass(frozen=True)
class Experiment:
    """The given model in normal form, the images, and for how long to train; `folder` keeps the models."""

    given: ir.Model
    train: Images
    test: Images
    epochs: int
    calibration: int
    folder: Path
    progress: Callable[[str], None]

    def taught(self, rate: float = FINETUNE_RATE) -> Recipe:
        """How to train what is pruned."""
        return Recipe(self.epochs, rate, teaching=TEACHING)

    def steps(self) -> int:
        """Steps of the optimizer in a whole training."""
        return Recipe(self.epochs).steps(len(self.train))

    def module(self, model: ir.Model) -> Any:
        """A module with the weights of `model`, its BatchNorm set to the statistics of some training images."""
        module = trainable.to_module(model).to(memory_format=torch.channels_last)
        images, _ = next(self.train.some(512).batches(512))
        trainable.standardise(module, images)
        return module

    def dense(self) -> ir.Model:
        """What the run "dense" gave."""
        return ir.load(self.folder / f"{DENSE}.onnx")

    def teacher(self) -> nn.Module:
        """The dense network to learn from."""
        return trainable.to_module(self.dense()).to(memory_format=torch.channels_last).eval()

    def samples(self) -> dict[str, np.ndarray]:
        """Training images to calibrate with, by the name of the input."""
        images, _ = next(self.train.some(self.calibration).batches(self.calibration))
        return {self.given.graph.inputs[0].name or "": images.contiguous().numpy()}


def dense(experiment: Experiment) -> ir.Model:
    """The given model, trained on."""
    module = experiment.module(experiment.given)
    recipe = Recipe(experiment.epochs, FINETUNE_RATE)
    optimizer = cifar.optimizer_for(module, recipe)
    cifar.train(module, experiment.train, recipe, optimizer=optimizer, progress=experiment.progress)
    return trainable.to_onnx(module, experiment.given)


def one_shot(experiment: Experiment, *, method: str, density: float) -> ir.Model:
    """The dense network, pruned without training; each layer is fitted to its own outputs."""
    return prune(experiment.dense(), density, method=method, match="own", calibration=experiment.samples()).model


def taught(
    experiment: Experiment, *, density: float | None, pattern: str = "1x1", rate: float = FINETUNE_RATE
) -> ir.Model:
    """The given model, pruned while it trains and learns from the dense network.

    The density falls along a cubic; a pattern that fixes it is imposed before the first step.
    """
    module = experiment.module(experiment.given)
    masks = Masks(module, pattern=pattern)
    recipe = experiment.taught(rate)
    optimizer = cifar.optimizer_for(module, recipe)
    step = None
    if density is None:
        masks.prune()
    else:
        end = max(1, round(PRUNED_BY * experiment.steps()))
        pruning = GradualPruning(masks, density, end=end, every=EVERY, allocation="lamp")

        def step() -> None:
            optimizer.step()
            pruning.step()

    masks.hold(optimizer)
    learn(experiment, module, recipe, optimizer, step)
    return trainable.to_onnx(module, experiment.given)


def learn(
    experiment: Experiment, module: nn.Module, recipe: Recipe, optimizer: torch.optim.SGD, step: Step | None = None
) -> None:
    """Train `module` with the dense network as its teacher."""
    options = {"optimizer": optimizer, "step": step, "teacher": experiment.teacher(), "progress": experiment.progress}
    cifar.train(module, experiment.train, recipe, **options)


def narrow(experiment: Experiment, *, removed: float) -> ir.Model:
    """The dense network without channels that have a share `removed` of the MACs; what is left learns from it."""
    samples = experiment.samples()
    smaller = shrink(experiment.dense(), removed, importance=IMPORTANCE, multiple=MULTIPLE, calibration=samples).model
    module = experiment.module(smaller)
    recipe = experiment.taught()
    learn(experiment, module, recipe, cifar.optimizer_for(module, recipe))
    return trainable.to_onnx(module, smaller)


def from_scratch(experiment: Experiment, *, density: float, moving: bool) -> ir.Model:
    """The same network from random weights, of which a random share is left; `moving` lets RigL choose others."""
    module = experiment.module(experiment.given)
    torch.manual_seed(0)
    trainable.reinitialise(module)
    masks = Masks(module)
    masks.randomize(density, allocation="erk")
    recipe = Recipe(experiment.epochs, SCRATCH_RATE)
    optimizer = cifar.optimizer_for(module, recipe)
    step = None
    if moving:
        stop = max(1, round(MOVED_UNTIL * experiment.steps()))
        step = RigL(optimizer, masks, every=MOVED_EVERY, stop=stop).step
    else:
        masks.hold(optimizer)
    cifar.train(module, experiment.train, recipe, optimizer=optimizer, step=step, progress=experiment.progress)
    return trainable.to_onnx(module, experiment.given)


RUNS: dict[str, Callable[[Experiment], ir.Model]] = {
    DENSE: dense,
    **{f"{method}-50": partial(one_shot, method=method, density=0.5) for method in METHODS},
    "magnitude-90": partial(one_shot, method="magnitude", density=0.1),
    "gradual-80": partial(taught, density=0.2),
    "gradual-90": partial(taught, density=0.1, rate=RELEARN_RATE),
    "2of4": partial(taught, density=None, pattern="2:4"),
    "4x1-80": partial(taught, density=0.2, pattern="4x1"),
    "half-macs": partial(narrow, removed=0.5),
    "static-90": partial(from_scratch, density=0.1, moving=False),
    "rigl-90": partial(from_scratch, density=0.1, moving=True),
}


def accuracy(artifact: Path, images: Images) -> float:
    """Share of `images` that an artifact gets right."""
    right = 0
    with LOCAL.open(artifact) as model:
        (image,), (scores,) = model.inputs, model.outputs
        for x, label in images.batches(1):
            right += int(model.run({image.name: x.contiguous().numpy()})[scores.name].argmax()) == int(label)
    return right / len(images)


def judged(path: Path, images: Images) -> dict[str, Any]:
    """Compile the model at `path`, and say what is left of it and what it gets right."""
    deployed = deploy(path)
    refs = find_weights(frontend.load(path))
    left = {"weights": sum(ref.nnz for ref in refs), "macs": sum(ref.effective_macs or 0 for ref in refs)}
    return {"accuracy": accuracy(path.with_suffix(".esp"), images), **left, **deployed.facts}


def columns(baseline: dict[str, Any]) -> dict[str, Callable[[dict[str, Any]], str]]:
    """What a table shows of each run."""
    return {
        "weights left": lambda run: f"{run['weights'] / baseline['weights']:.1%}",
        "MACs left": lambda run: f"{run['macs'] / baseline['macs']:.1%}",
        "test accuracy": lambda run: f"{run['accuracy']:.2%}",
        "against dense": lambda run: f"{100 * (run['accuracy'] - baseline['accuracy']):+.2f}",
        "artifact, KB": lambda run: f"{run['artifact_bytes'] / 1e3:.0f}",
        "agrees with ONNX Runtime": verdict,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that the command line asks for and the output does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=f"the folder of {DATA}")
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="a trained ONNX model")
    parser.add_argument("--runs", default=",".join(RUNS), help="some of %(default)s")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, help="train and test on so many only")
    parser.add_argument("--calibration", type=int, default=512, help="images")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/pruning/cifar.json"))
    options = parser.parse_args(arguments)
    chosen = options.runs.split(",")
    if unknown := [name for name in chosen if name not in RUNS]:
        parser.error(f"--runs: {unknown[0]!r} is unknown; expected some of {', '.join(RUNS)}")
    torch.set_num_threads(options.threads)
    settings = {name: getattr(options, name) for name in ("epochs", "images", "calibration")}
    results = Results(options.output, {"model": options.model.name, **settings})
    folder = options.output.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    data = options.data / DATA
    train, test = (cifar.load(data, split).some(options.images) for split in ("train", "test"))
    experiment = Experiment(frontend.load(options.model), train, test, options.epochs, options.calibration, folder, say)
    for name in dict.fromkeys([DENSE, *chosen]):
        if not results.done(name):
            say(name)
            started = time.perf_counter()
            model = RUNS[name](experiment)
            seconds = time.perf_counter() - started
            ir.save(model, folder / f"{name}.onnx")
            results.add(name, {"seconds": seconds, **judged(folder / f"{name}.onnx", test)})
            baseline = results.runs[DENSE]
            results.write_table(columns(baseline), note(settings, len(train), len(test), baseline))
    print(results.path.with_suffix(".md").read_text())


def note(settings: dict[str, Any], train: int, test: int, baseline: dict[str, Any]) -> str:
    """What a table does not say."""
    error = 100 * (baseline["accuracy"] * (1 - baseline["accuracy"]) / test) ** 0.5
    return (
        f"Epochs: {settings['epochs']}, of {train} training images; accuracy of the compiled artifact on {test} test "
        f"images, standard error {error:.2f} points."
    )


def say(line: str) -> None:
    """Report progress."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
