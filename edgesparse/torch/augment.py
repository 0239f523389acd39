"""What may be done to images before two networks see them, so that few of them go further."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
SHIFT = 4
"""Pixels that an image moves at most."""
COLOURS = 4
"""Channels that an image has at most, where its axes are told from each other."""


def flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the images, left for right.

    Shapes: images [N, C, H, W], or [N, H, W, C] with few C.
    """
    _, width = _plane(images)
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(width), images)


def shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Move all images alike by up to SHIFT pixels each way; zeros come in. Shapes: as for `flip`."""
    for axis in _plane(images):
        by = int(torch.randint(-SHIFT, SHIFT + 1, (1,), generator=generator))
        pads = [size for at in (3, 2, 1) for size in ((max(by, 0), max(-by, 0)) if at == axis else (0, 0))]
        images = functional.pad(images, pads).narrow(axis, max(-by, 0), images.shape[axis])
    return images


def _plane(images: torch.Tensor) -> tuple[int, int]:
    """The axes of height and width."""
    return (1, 2) if images.shape[3] <= COLOURS < images.shape[1] else (2, 3)


AUGMENTATIONS: dict[str, Augment] = {"flip": flip, "shift": shift}
"""By name."""
