"""What the functions of the pipeline take alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import onnx_ir as ir
    import torch

Source: TypeAlias = "str | Path | onnx.ModelProto | ir.Model | torch.nn.Module | torch.export.ExportedProgram"
"""A model: the path of an .onnx or .pt2 file, "package.module:factory", or a model in memory."""
Examples: TypeAlias = "torch.Tensor | np.ndarray | Sequence[Any] | Mapping[str, Any] | None"
"""Inputs to trace a PyTorch module with: the only one, all in order, or all by the names that `forward` gives them."""
InputShapes = Mapping[str, Sequence[int]]
Bindings = Mapping[str, Any]
"""Values by the names of inputs, which become constants: see `frontend.bound`."""
Progress = Callable[[str], None]
"""Called with a few words when a stage begins."""


def silent(stage: str) -> None:
    """Report no progress."""


def read(model: Source, examples: Examples, input_shapes: InputShapes | None, bind: Bindings | None) -> ir.Model:
    """The model as it is, but for inputs that are bound.

    Raises: FrontendError: it cannot be read, or inputs cannot be bound.
    """
    from edgesparse import frontend

    source = frontend.read(model, examples, frontend.blank(model, input_shapes))
    return frontend.bound(source, bind) if bind else source


def as_compiled(source: ir.Model, manifest: Mapping[str, Any]) -> ir.Model:
    """A model with the inputs bound that were bound when an artifact was compiled from it."""
    from edgesparse import frontend

    values = manifest.get("bind")
    return frontend.bound(source, values) if values and isinstance(values, Mapping) else source


def name_of(model: Source) -> str:
    """What reports call a model: the name of its file or factory, or "model"."""
    return os.fsencode(Path(model).name).decode(errors="replace") if isinstance(model, str | Path) else "model"
