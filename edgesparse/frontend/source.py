"""What a user may call a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    import torch

FACTORY = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")

Source: TypeAlias = "str | Path | onnx.ModelProto | ir.Model | torch.nn.Module | torch.export.ExportedProgram"
"""A model: the path of an .onnx or .pt2 file, "package.module:factory", or a model in memory."""

Examples: TypeAlias = "torch.Tensor | np.ndarray | Sequence[Any] | Mapping[str, Any] | None"
"""Inputs to trace a PyTorch module with: the only one, all in order, or all by the names that `forward` gives them."""


def is_pytorch(source: Source) -> bool:
    """Whether `source` is PyTorch's: a .pt2 file, the name of a factory, or anything in memory that is not ONNX."""
    if not isinstance(source, str | Path):
        return not isinstance(source, ir.Model | onnx.ModelProto)
    return Path(source).suffix == ".pt2" or bool(FACTORY.fullmatch(str(source)) and not Path(source).exists())
