"""What the functions of the pipeline take alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

Source: TypeAlias = "str | Path | onnx.ModelProto | ir.Model"
InputShapes = Mapping[str, Sequence[int]]
Progress = Callable[[str], None]
"""Called with a few words when a stage begins."""


def silent(stage: str) -> None:
    """Report no progress."""
