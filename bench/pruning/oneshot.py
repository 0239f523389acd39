"""Prune a trained network for CIFAR-10 in one shot by every method, and recover it: what each step of them brings.

    python -m bench.pruning.oneshot --data DIR --model resnet20.onnx
    taskset -c 0 env OMP_NUM_THREADS=1 python -m bench.pruning.oneshot ... --runs recovered-80 -o part.json

DIR holds cifar10_jpeg_dev.npz, as `models/cifar.py` reads it. Images of the training set, without their labels, are all
that a method sees; accuracy is that of ONNX Runtime on the test images. Seconds are those of the CPU. A run that is in
the output already, with the same settings, is not done again.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from bench.pruning.cifar import DATA, DENSE, say
from bench.pruning.results import Results, points_lost, some_of
from edgesparse import frontend, reference
from edgesparse.pipeline.sample_files import parted
from edgesparse.prune import prune, shrink, synthetic
from models import cifar
from models.cifar import Images

Samples = Mapping[str, np.ndarray]

METHODS: dict[str, dict[str, Any]] = {
    "magnitude": {"method": "magnitude", "allocation": "lamp"},
    "wanda": {"method": "wanda", "allocation": "lamp"},
    "sparsegpt-own": {"method": "sparsegpt", "allocation": "lamp", "match": "own"},
    "sparsegpt": {"method": "sparsegpt", "allocation": "lamp"},
    "admm-lamp": {"method": "admm", "allocation": "lamp"},
    "admm": {"method": "admm", "allocation": "uniform"},
    "made-up": {"method": "admm", "allocation": "uniform"},
    "recovered": {"method": "admm", "allocation": "uniform"},
}
SHAPES: dict[str, tuple[float | None, str]] = {
    "50": (0.5, "1x1"),
    "70": (0.3, "1x1"),
    "80": (0.2, "1x1"),
    "90": (0.1, "1x1"),
    "2of4": (None, "2:4"),
    "1x4-50": (0.5, "1x4"),
    "1x4-70": (0.3, "1x4"),
}
"""Density and pattern by what the name of a run ends with."""

MEASURES: dict[str, dict[str, Any]] = {
    "l2": {"importance": "l2"},
    "l2-refit": {"importance": "l2", "refit": True},
    "output-refit": {"importance": "output", "refit": True},
    "made-up": {"importance": "output", "refit": True},
    "recovered": {"importance": "output", "refit": True},
    "composed": {"importance": "output", "refit": True},
}
SHARES = {"macs-30": 0.3, "macs-50": 0.5}
"""Of the multiply-accumulates that go as channels, by what the name of a run ends with."""

MADE_UP, RECOVERED, COMPOSED = "made-up", "recovered", "composed"  # runs that do something else
ZEROS = "admm"  # how the composed ones make zeros
AUGMENT = ("flip", "shift")

WORDS = {
    "magnitude": "the largest weights",
    "wanda": "Wanda",
    "sparsegpt-own": "SparseGPT, fitted to each layer's own outputs (`--match own`)",
    "sparsegpt": "SparseGPT, fitted to the dense network's outputs, biases and residuals included",
    "admm-lamp": "ADMM: mask and weights together",
    ZEROS: "and the same density in all layers (the default with samples)",
    "l2": "channels of the smallest norm",
    "l2-refit": "as many from where as the network's outputs lose least by, and the layers fitted to the dense ones",
    "output-refit": "and those channels that the next layers' outputs lose least by (`--structured`, with samples)",
    MADE_UP: "the same on pictures that were made up, without any samples (`--calibration synthetic`)",
    RECOVERED: "and recovered by gradients (`--recover --augment flip,shift`)",
    COMPOSED: "in place of recovery, half of the weights that are left become zero (`--sparsity 0.5` with it)",
}
BOTH = ((METHODS, SHAPES), (MEASURES, SHARES))
BATCH = 200


def accuracy(model: ir.Model, images: Images) -> float:
    """Share of `images` that a model gets right, by ONNX Runtime."""
    right, fixed = 0, model.graph.inputs[0].shape[0]  # type: ignore[index]
    with reference.Session(model, threads=0, optimised=True) as session:
        for x, labels in images.batches(fixed if isinstance(fixed, int) else BATCH):
            (scores,) = session.run({session.inputs[0]: x.contiguous().numpy()}).values()
            right += int((scores.argmax(axis=1) == labels.numpy()).sum())
    return right / len(images)


def cpu_seconds() -> float:
    """Of this process and of the one that holds ONNX Runtime."""
    fields = Path(f"/proc/{reference.process_id()}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def one_shot(model: ir.Model, name: str, samples: Samples) -> ir.Model:
    """The pruned model of a run."""
    method = max((known for known in WORDS if name.startswith(f"{known}-")), key=len)
    shape = name.removeprefix(f"{method}-")
    given = None if method == "magnitude" else synthetic(frontend.load(model)) if method == MADE_UP else samples
    if shape in SHARES:
        smaller = shrink(model, SHARES[shape], multiple=1, calibration=given, **MEASURES[method]).model
        return one_shot(smaller, f"{ZEROS}-50", samples) if method == COMPOSED else smaller
    density, pattern = SHAPES[shape]
    return prune(model, density, pattern=pattern, calibration=given, **METHODS[method]).model


def recovered(
    model: ir.Model,
    pruned: Callable[[Samples], ir.Model],
    samples: Samples,
    seconds: float,
    augment: Sequence[str] = (),
) -> ir.Model:
    """What `pruned` makes of samples, after recovery on this thread, with samples held out as the command does it.

    Args: seconds: of the CPU.
    """
    import torch

    from edgesparse.torch import recover

    torch.set_num_threads(1)
    seen, held_out = parted(samples)
    assert seen is not None
    options: dict[str, Any] = {"seconds": seconds, "augment": augment, "clock": time.process_time}
    return recover(pruned(seen), model, seen, held_out=held_out, **options).model


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the runs that the command line asks for and the output does not have yet."""
    names = [f"{method}-{shape}" for methods, shapes in BOTH for method in methods for shape in shapes]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=f"the folder of {DATA}")
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="a trained ONNX model")
    parser.add_argument("--runs", default=",".join(names), help="some of %(default)s")
    parser.add_argument("--calibration", type=int, default=512, help="images")
    parser.add_argument("--recovery", type=float, default=180.0, metavar="SECONDS", help="of the CPU")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/pruning/oneshot.json"))
    options = parser.parse_args(arguments)
    chosen = some_of(parser, options.runs, names)
    settings = {"model": options.model.name, "calibration": options.calibration}
    results = Results(options.output, settings)
    train, test = (cifar.load(options.data / DATA, split) for split in ("train", "test"))
    model = frontend.read(options.model)
    images, _ = next(train.some(options.calibration).batches(options.calibration))
    samples = {str(model.graph.inputs[0].name): images.contiguous().numpy()}
    if not results.done(DENSE):
        results.add(DENSE, {"accuracy": accuracy(model, test), "images": len(test)})
    for name in chosen:
        if not results.done(name):
            say(name)
            started = cpu_seconds()
            recovers = name.startswith(RECOVERED)
            make = partial(one_shot, model, name)
            pruned = recovered(model, make, samples, options.recovery, AUGMENT) if recovers else make(samples)
            spent = {"cpu_seconds": cpu_seconds() - started} | ({"recovery_s": options.recovery} if recovers else {})
            results.add(name, {"accuracy": accuracy(pruned, test), **spent})
        write(results)
    print(results.path.with_suffix(".md").read_text())


def write(results: Results) -> None:
    """Write the table of all runs next to the JSON."""
    dense = results.runs[DENSE]
    error = 100 * (dense["accuracy"] * (1 - dense["accuracy"]) / dense["images"]) ** 0.5
    settings = results.settings
    words = (
        f"Dense {dense['accuracy']:.1%} of {dense['images']} test images, standard error {error:.1f} points; one seed; "
        f"{settings['calibration']} training images without labels; densities by LAMP but where said."
    )
    tables = "\n\n".join(
        points_lost(
            dense,
            results.runs,
            {method: WORDS[method] for method in methods},
            [*shapes],
            lambda run: 100 * run["accuracy"],
        )
        for methods, shapes in BOTH
    )
    results.path.with_suffix(".md").write_text(f"{tables}\n\n{words}\n")


if __name__ == "__main__":
    main()
