"""Small modules and training steps for the tests of edgesparse.torch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")
from torch import nn  # noqa: E402

PRUNABLE = ("2.weight", "5.weight", "8.weight")


def convnet(seed: int = 0) -> nn.Sequential:
    """A stem, a depthwise and two plain convolutions with BatchNorm, and a linear layer; input [N, 3, 8, 8]."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 8),
    )


def perceptron(seed: int = 0) -> nn.Sequential:
    """Two linear layers; input [N, 12]."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))


def train(module, optimizer, steps, shape, seed=0):
    """A few steps on random images or vectors with random labels."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn((4, *shape), generator=generator)
        y = torch.randint(0, 4, (4,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        optimizer.step()


def zeros(module, name):
    """Where the weight `name` is exactly zero."""
    return module.get_parameter(name).detach() == 0
