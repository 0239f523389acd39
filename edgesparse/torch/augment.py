"""What may be done to images before two networks see them, so that few of them go further."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
SHIFT = 4
"""Pixels that an image moves at most."""


def flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images [N, C, H, W], left for right."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Move all images [N, C, H, W] alike by up to SHIFT pixels each way; zeros come in."""
    down, right = torch.randint(2 * SHIFT + 1, (2,), generator=generator).tolist()
    padded = functional.pad(images, (SHIFT, SHIFT, SHIFT, SHIFT))
    return padded[..., down : down + images.shape[-2], right : right + images.shape[-1]]


AUGMENTATIONS: dict[str, Augment] = {"flip": flip, "shift": shift}
"""By name."""
