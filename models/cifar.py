"""CIFAR-10 for networks that arrive as ONNX: images, training with augmentation, accuracy.

Images come as JPEG bytes in one .npz: `train_bytes[train_offsets[i]:train_offsets[i + 1]]` and `train_labels`, the same
for `test`. They are decoded once, into build/cifar10.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgesparse.outputs import written
from edgesparse.torch import distillation_loss

CACHE = Path("build/cifar10")
SIDE, PAD = 32, 4
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255


@dataclass(frozen=True)
class Images:
    """Pixels uint8 [N, 32, 32, 3] and labels [N]."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def some(self, count: int | None) -> Images:
        """`count` of them, drawn at random but always the same; all for None."""
        chosen = torch.from_numpy(np.random.default_rng(0).permutation(len(self))[:count])
        return Images(self.pixels[chosen], self.labels[chosen])

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """All in order, ready for a network: f32 [n, 3, 32, 32], channels last in memory."""
        for start in range(0, len(self), size):
            yield standardised(self.pixels[start : start + size]), self.labels[start : start + size]

    def shuffled(self, size: int, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One epoch in random order without what is left over: padded by 4 pixels, cropped and flipped at random."""
        order = rng.permutation(len(self))
        padded = functional.pad(self.pixels, (0, 0, PAD, PAD, PAD, PAD))
        windows = padded.unfold(1, SIDE, 1).unfold(2, SIDE, 1)  # [N, places, places, 3, 32, 32]
        for start in range(0, len(self) - size + 1, size):
            chosen = torch.from_numpy(order[start : start + size])
            down, right = torch.from_numpy(rng.integers(0, 2 * PAD + 1, (2, size)))
            cropped = windows[chosen, down, right]
            flip = torch.from_numpy(rng.random(size) < 0.5)
            cropped[flip] = cropped[flip].flip(3)
            yield standardised(cropped.permute(0, 2, 3, 1)), self.labels[chosen]


def standardised(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels uint8 [N, H, W, 3] as the network wants them: f32 [N, 3, H, W], channels last in memory."""
    images = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
    return (images - MEAN) / DEVIATION


def load(data: Path, split: str) -> Images:
    """Images of `split`, "train" or "test", decoded on first use."""
    cached = CACHE / f"{data.stem}-{data.stat().st_size}-{split}.npz"
    if not cached.exists():
        _decode(data, split, cached)
    with np.load(cached) as arrays:
        return Images(torch.from_numpy(arrays["pixels"]), torch.from_numpy(arrays["labels"]).long())


def _decode(data: Path, split: str, cached: Path) -> None:
    from PIL import Image

    with np.load(data) as arrays:
        stored, offsets, labels = (arrays[f"{split}_{name}"] for name in ("bytes", "offsets", "labels"))
    pixels = np.empty((len(labels), SIDE, SIDE, 3), np.uint8)
    for at, image in enumerate(pixels):
        image[:] = np.asarray(Image.open(io.BytesIO(stored[offsets[at] : offsets[at + 1]].tobytes())).convert("RGB"))
    cached.parent.mkdir(parents=True, exist_ok=True)
    with written(cached) as partial:
        np.savez(partial, pixels=pixels, labels=labels)


def accuracy(module: nn.Module, images: Images) -> float:
    """Share that `module` gets right, in f32."""
    module.eval()
    with torch.inference_mode():
        right = sum(int((module(x).argmax(1) == y).sum()) for x, y in images.batches(250))
    return right / len(images)


@dataclass(frozen=True)
class Recipe:
    """How to train: SGD with Nesterov momentum, one cycle of the learning rate, labels smoothed or a teacher's."""

    epochs: int
    rate: float = 0.1
    batch: int = 128
    momentum: float = 0.9
    decay: float = 5e-4
    warmup: float = 0.15
    smoothing: float = 0.0
    teaching: float = 0.0  # share of the loss that comes from the teacher
    temperature: float = 2.0
    bfloat16: bool = True  # convolutions in bf16; weights, their gradients and BatchNorm stay f32

    def steps(self, images: int) -> int:
        """Steps of the optimizer for a training set of that many images."""
        return self.epochs * (images // self.batch)


def optimizer_for(module: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD that leaves biases and BatchNorm out of weight decay."""
    vectors = [parameter for parameter in module.parameters() if parameter.ndim == 1]
    matrices = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, recipe.rate, momentum=recipe.momentum, nesterov=True)


def train(
    module: nn.Module,
    images: Images,
    recipe: Recipe,
    *,
    optimizer: torch.optim.SGD,
    step: Callable[[], Any] | None = None,
    teacher: nn.Module | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> None:
    """Train `module`.

    Args:
        step: called after each backward pass in place of `optimizer.step`, to prune and move connections besides.
        teacher: network whose probabilities `recipe.teaching` refers to.
        progress: told of every epoch.
    """
    rng = np.random.default_rng(seed)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, total_steps=recipe.steps(len(images)) + 1, pct_start=recipe.warmup, cycle_momentum=False
    )
    for epoch in range(recipe.epochs):
        module.train()
        losses = []
        for x, labels in images.shuffled(recipe.batch, rng):
            loss = _loss(module, x, labels, recipe, teacher)
            optimizer.zero_grad()
            loss.backward()
            (step or optimizer.step)()
            rates.step()
            losses.append(loss.detach())
        progress(f"epoch {epoch + 1} of {recipe.epochs}, loss {float(torch.stack(losses).mean()):.3f}")


def _loss(
    module: nn.Module, x: torch.Tensor, labels: torch.Tensor, recipe: Recipe, teacher: nn.Module | None
) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
        scores = module(x)
        if teacher is not None:
            with torch.no_grad():
                taught = teacher(x)
    loss = functional.cross_entropy(scores.float(), labels, label_smoothing=recipe.smoothing)
    if teacher is None:
        return loss
    distance = distillation_loss(scores.float(), taught.float(), temperature=recipe.temperature)
    return (1 - recipe.teaching) * loss + recipe.teaching * distance
