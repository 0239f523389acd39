"""Prune while training, any `nn.Module`: masks, schedules over time, lottery tickets, dynamic sparse training."""

from edgesparse.frontend.torch import load_masked
from edgesparse.torch.augment import AUGMENTATIONS
from edgesparse.torch.distill import distillation_loss
from edgesparse.torch.dynamic import SET, RigL
from edgesparse.torch.gradual import GradualPruning, cubic_density
from edgesparse.torch.iterative import Rewind, iterative_pruning
from edgesparse.torch.masks import Masks
from edgesparse.torch.matrices import ModuleWeight, find_weights
from edgesparse.torch.oneshot import OneShot, oneshot
from edgesparse.torch.recover import Recovered, recover

__all__ = [
    "AUGMENTATIONS",
    "SET",
    "GradualPruning",
    "Masks",
    "ModuleWeight",
    "OneShot",
    "Recovered",
    "Rewind",
    "RigL",
    "cubic_density",
    "distillation_loss",
    "find_weights",
    "iterative_pruning",
    "load_masked",
    "oneshot",
    "recover",
]
