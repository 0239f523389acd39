"""What may be given as a model, and the importers that bring what is not ONNX to ONNX."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Importer:
    """What brings models of another kind to ONNX: a package of this room with `read(source, examples, fallback)`.

    `needs` is what it imports, and the extra that installs it; `suffixes` are those of its files. It may take the names
    of functions that make models (`factories`), and whatever is in memory (`objects`).
    """

    package: str
    title: str
    needs: str
    suffixes: tuple[str, ...]
    factories: bool = False
    objects: bool = False


IMPORTERS = (Importer("torch", "PyTorch", "torch", (".pt2",), factories=True, objects=True),)
"""To add one: a folder here, and a line."""


def importer_of(source: Source) -> Importer | None:
    """What reads a model that is not ONNX; None for ONNX, and for what nobody takes."""
    if not isinstance(source, str | Path):
        in_memory = not isinstance(source, ir.Model | onnx.ModelProto)
        return next((each for each in IMPORTERS if in_memory and each.objects), None)
    path = Path(source)
    by_name = bool(FACTORY.fullmatch(str(source))) and not path.exists()
    return next((each for each in IMPORTERS if path.suffix in each.suffixes or (by_name and each.factories)), None)


def is_onnx(source: Source) -> bool:
    """Whether `source` is read as ONNX."""
    return importer_of(source) is None
