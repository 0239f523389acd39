"""The types that a model is computed with, where they are not those of its file."""

from __future__ import annotations

from edgesparse.quantize.half import halved, has_half, widened

__all__ = ["halved", "has_half", "widened"]
