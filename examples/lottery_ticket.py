"""Find winning tickets: sparse networks that, trained from where they began, do as well as the dense one.

    python examples/lottery_ticket.py                     scikit-learn's digits, in less than two minutes
    python examples/lottery_ticket.py --data mnist.npz    images `x` [N, ...] and labels `y` [N] of ten classes

A perceptron is trained, pruned by magnitude, rewound and trained again, in rounds. Its weights are rewound to their
initialisation (Frankle and Carbin 2018, arXiv:1803.03635) or to a step early in training (Frankle et al. 2019,
arXiv:1912.05671). The same masks over weights drawn anew say how much of it is in the weights. The tickets of the first
seed are compiled and held against ONNX Runtime. Needs the extras torch, demo and bench.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.machine import describe  # noqa: E402
from bench.pruning.deploy import deploy, verdict  # noqa: E402
from edgesparse.torch import Masks, Rewind, iterative_pruning  # noqa: E402
from models import digits  # noqa: E402

HIDDEN = (300, 100)  # LeNet-300-100
CLASSES = 10
HELD_OUT = 5  # one image of so many
RATE = 1.2e-3
ANEW = "drawn anew"

GRAPH = """
<ir_version: 9, opset_import: ["" : 20]>
perceptron (float[1, {pixels}] image) => (float[1, 10] scores) {{
    h0 = Gemm <transB = 1> (image, weight0, bias0)
    r0 = Relu (h0)
    h2 = Gemm <transB = 1> (r0, weight2, bias2)
    r2 = Relu (h2)
    scores = Gemm <transB = 1> (r2, weight4, bias4)
}}
"""


@dataclass(frozen=True)
class Settings:
    """How long and how often; `rewind` is the step, besides 0, that weights go back to."""

    rounds: int = 16
    keep: float = 0.8
    steps: int = 400
    rewind: int = 40
    batch: int = 60
    seeds: int = 3

    @property
    def densities(self) -> list[float]:
        """Density after each round."""
        return [self.keep**at for at in range(1, self.rounds + 1)]


@dataclass(frozen=True)
class Images:
    """Images f32 [N, pixels] and their labels [N]: to learn from, and held out."""

    x: torch.Tensor
    y: torch.Tensor
    heldout_x: torch.Tensor
    heldout_y: torch.Tensor


@dataclass(frozen=True)
class Point:
    """Accuracy on held-out images of one kind of network, with one seed at one density."""

    kind: str
    seed: int
    density: float
    accuracy: float


def load(data: Path | None) -> Images:
    """The digits, or the images of a file, of which one in HELD_OUT is held out."""
    if data is None:
        x, y, heldout_x, heldout_y = digits.load_data()
    else:
        with np.load(data) as arrays:
            pixels, labels = arrays["x"], arrays["y"].astype(np.int64)
        order = np.random.default_rng(0).permutation(len(labels))
        pixels, labels = (pixels[order] / pixels.max()).astype(np.float32), labels[order]
        count = len(labels) // HELD_OUT
        x, y, heldout_x, heldout_y = pixels[count:], labels[count:], pixels[:count], labels[:count]
    flat, heldout = (torch.from_numpy(images.reshape(len(images), -1)) for images in (x, heldout_x))
    return Images(flat, torch.from_numpy(y), heldout, torch.from_numpy(heldout_y))


def perceptron(pixels: int, seed: int) -> nn.Sequential:
    """The network, its weights drawn with `seed`."""
    torch.manual_seed(seed)
    first, second = HIDDEN
    layers = (nn.Linear(pixels, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, CLASSES))
    return nn.Sequential(*layers)


def train(
    masks: Masks, images: Images, settings: Settings, seed: int, *, begin: int = 0, end: int | None = None
) -> None:
    """Train from step `begin` to step `end`, the last by default, with zeros held; `seed` orders the images."""
    optimizer = torch.optim.Adam(masks.module.parameters(), RATE)
    release = masks.hold(optimizer)
    rng = np.random.default_rng(seed)
    epochs = 1 + settings.steps * settings.batch // len(images.y)
    order = np.concatenate([rng.permutation(len(images.y)) for _ in range(epochs)])
    for step in range(begin, settings.steps if end is None else end):
        chosen = torch.from_numpy(order[step * settings.batch : (step + 1) * settings.batch])
        optimizer.zero_grad()
        nn.functional.cross_entropy(masks.module(images.x[chosen]), images.y[chosen]).backward()
        optimizer.step()
    release()


def accuracy(module: nn.Module, images: Images) -> float:
    """Share of the held-out images that `module` gets right."""
    with torch.inference_mode():
        return float((module(images.heldout_x).argmax(1) == images.heldout_y).float().mean())


def tickets(images: Images, settings: Settings, seed: int, *, rewind: int) -> Iterator[Masks]:
    """The network after every training, dense first; its weights are rewound to step `rewind`."""
    masks = Masks(perceptron(images.x.shape[1], seed))
    train(masks, images, settings, seed, end=rewind)

    def retrain(masks: Masks) -> None:
        train(masks, images, settings, seed, begin=rewind)

    for _ in iterative_pruning(masks, settings.densities, retrain, rewind=Rewind(masks.module)):
        yield masks


def drawn_anew(masks: Masks, images: Images, settings: Settings, seed: int) -> nn.Module:
    """Another network with the zeros of `masks`, trained as long."""
    anew = Masks(perceptron(images.x.shape[1], settings.seeds + seed))
    anew.load_state_dict(masks.state_dict())
    train(anew, images, settings, seed)
    return anew.module


def search(images: Images, settings: Settings, folder: Path) -> tuple[list[Point], list[dict[str, Any]]]:
    """Every point, and what came of the tickets of the first seed when they were compiled in `folder`."""
    points, deployed = [], []
    for seed in range(settings.seeds):
        for step in (0, settings.rewind):
            for masks in tickets(images, settings, seed, rewind=step):
                points.append(Point(rewound(step), seed, masks.density, accuracy(masks.module, images)))
                print(f"seed {seed}, {rewound(step)}, {masks.density:.3f}: {points[-1].accuracy:.2%}", file=sys.stderr)
                if step == 0:
                    anew = accuracy(drawn_anew(masks, images, settings, seed), images)
                    points.append(Point(ANEW, seed, masks.density, anew))
                    if seed == 0:
                        deployed.append(compiled(masks, folder))
    return points, deployed


def rewound(step: int) -> str:
    """The kind of ticket."""
    return f"rewound to step {step}"


def compiled(masks: Masks, folder: Path) -> dict[str, Any]:
    """Compile a ticket, and compare it with ONNX Runtime."""
    state = {name: array.numpy() for name, array in masks.module.state_dict().items()}
    model = onnx.parser.parse_model(GRAPH.format(pixels=state["0.weight"].shape[1]))
    for name, array in state.items():
        layer, kind = name.split(".")
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, kind + layer))
    path = folder / f"ticket-{masks.density:.3f}.onnx"
    onnx.save(model, str(path))
    return {"ticket_density": masks.density, **deploy(path).facts}


def curve(points: Sequence[Point], kind: str) -> dict[float, list[float]]:
    """Accuracies of all seeds by density."""
    found: dict[float, list[float]] = {}
    for point in points:
        if point.kind == kind:
            found.setdefault(round(point.density, 4), []).append(point.accuracy)
    return found


def kinds(points: Sequence[Point]) -> list[str]:
    """In the order in which they came."""
    return list(dict.fromkeys(point.kind for point in points))


def winning(points: Sequence[Point], kind: str) -> float:
    """The lowest density at which networks of that kind do no worse, on average, than the dense ones."""
    means = {density: float(np.mean(found)) for density, found in curve(points, kind).items()}
    return min(density for density, mean in means.items() if mean >= means[max(means)])


def markdown(points: Sequence[Point], deployed: Sequence[dict[str, Any]], settings: Settings) -> str:
    """Mean accuracies, the range over the seeds behind them."""
    names = kinds(points)
    curves = [curve(points, kind) for kind in names]
    rows = [["density", *names, "agrees with ONNX Runtime"], ["---"] * (len(names) + 2)]
    for density, facts in zip(curves[0], deployed, strict=True):
        spread = [f"{np.mean(c[density]):.2%} ({min(c[density]):.2%} to {max(c[density]):.2%})" for c in curves]
        rows.append([f"{density:.3f}", *spread, verdict(facts)])
    lowest = ", ".join(f"{kind}: {winning(points, kind):.3f}" for kind in names)
    words = [
        f"LeNet-300-100 after {settings.steps} steps of Adam: accuracy on held-out images, mean and range over seeds",
        f"({settings.seeds} of them). Lowest density that does no worse than the dense network on average: {lowest}.",
    ]
    return "\n".join(["| " + " | ".join(row) + " |" for row in rows] + ["", *words, ""])


def draw(points: Sequence[Point], output: Path) -> None:
    """Accuracy against density, each kind with the range over its seeds."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for kind in kinds(points):
        found = curve(points, kind)
        (line,) = axes.plot(list(found), [np.mean(each) for each in found.values()], marker=".", label=kind)
        low, high = ([choose(each) for each in found.values()] for choose in (min, max))
        axes.fill_between(list(found), low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xscale="log", xlabel="density", ylabel="accuracy on held-out images")
    axes.set_xticks([density for density in (1, 0.5, 0.2, 0.1, 0.05, 0.02) if density >= min(found)])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.invert_xaxis()
    axes.grid(True, linewidth=0.3)
    axes.legend()
    figure.savefig(output, metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> None:
    """Search as the command line says, and write lottery-ticket.json, .md and .svg."""
    defaults = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help=".npz with x and y; scikit-learn's digits by default")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "lottery-ticket", help="a folder")
    for name in ("rounds", "steps", "rewind", "seeds"):
        parser.add_argument(f"--{name}", type=int, default=getattr(defaults, name))
    options = parser.parse_args(arguments)
    settings = Settings(rounds=options.rounds, steps=options.steps, rewind=options.rewind, seeds=options.seeds)
    with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
        points, deployed = search(load(options.data), settings, Path(folder))
    result = {
        "data": "scikit-learn digits" if options.data is None else options.data.name,
        "settings": asdict(settings),
        "machine": asdict(describe()),
        "points": [asdict(point) for point in points],
        "deployed": deployed,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    output = options.output / "lottery-ticket"
    output.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    table = markdown(points, deployed, settings)
    output.with_suffix(".md").write_text(table)
    draw(points, output.with_suffix(".svg"))
    print(table)


if __name__ == "__main__":
    main()
