"""Find the module or exported program that the user means, and what to trace it with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from edgesparse.errors import FrontendError, in_words
from edgesparse.frontend.source import Examples
from edgesparse.frontend.torch import archive
from edgesparse.frontend.torch.export import to_onnx, trace
from edgesparse.frontend.torch.kept_zeros import prepared
from edgesparse.imports import function, importable

_REMEDY = "pass example_inputs, let the factory return (module, example_inputs), or compile with --input-shape"


def read(source: object, examples: Examples = None, fallback: Examples = None) -> ir.Model:
    """Export a PyTorch model to ONNX. What `prune`, masks and parametrizations zero is zero in the result.

    A module is traced in evaluation mode and in float32; it is not changed itself.

    Args:
        source: an nn.Module, an ExportedProgram, the path of a file by `torch.export.save`, or "module:factory", the
            name of a function that returns a module, (module, example inputs) or an ExportedProgram.
        examples: what to trace a module with; they decide its shapes.
        fallback: such inputs for a module that comes with none.

    Raises: FrontendError: the source is none of these, cannot be loaded, or cannot be traced or exported.
    """
    where = str(source) if isinstance(source, str | Path) else type(source).__name__
    found = _found(source, where)
    if isinstance(found, tuple):
        found, offered = found
        examples = offered if examples is None else examples
    if isinstance(found, ExportedProgram):
        if examples is not None:
            raise FrontendError(f"{where}: is exported already; example inputs are for modules only")
        return to_onnx(found, where)
    if not isinstance(found, torch.nn.Module):
        raise FrontendError(
            f"{where}: got {type(found).__name__}, expected a torch.nn.Module, an ExportedProgram or an ONNX model"
        )
    examples = fallback if examples is None else examples
    if examples is None:
        raise FrontendError(f"{where}: a module needs example inputs to be traced with; remedy: {_REMEDY}")
    if any(is_lazy(value) for value in (*found.parameters(), *found.buffers())):
        raise FrontendError(f"{where}: has lazy layers that know no shapes yet; remedy: run the module once first")
    module, halved = prepared(found)
    positional, named = _arguments(examples, where, halved=halved)
    return to_onnx(trace(module, positional, named, where), where)


def _found(source: object, where: str) -> Any:
    """What a path or the name of a factory stands for; everything else as it is."""
    if not isinstance(source, str | Path):
        return source
    if Path(source).suffix == ".pt2":
        return archive.load(Path(source))
    return _made(str(source), where)


def _made(name: str, where: str) -> Any:
    """Call the factory "module:attribute"; the working directory can be imported from."""
    with importable(Path.cwd()):
        factory = function(name, FrontendError, where)
        if isinstance(factory, torch.nn.Module | ExportedProgram):
            return factory
        try:
            made = factory()
        except (Exception, SystemExit) as err:
            raise FrontendError(f"{where}: the factory failed: {in_words(err)}") from err
    pair = isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module)
    if not pair and not isinstance(made, torch.nn.Module | ExportedProgram):
        raise FrontendError(
            f"{where}: the factory returned {type(made).__name__}, expected a torch.nn.Module, "
            "(module, example_inputs) or an ExportedProgram"
        )
    return made


def _arguments(examples: Examples, where: str, *, halved: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of `forward`, tensors on the CPU; floats as float32 where weights were made so."""

    def tensor(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray):
            try:
                leaf = torch.from_numpy(leaf)
            except TypeError as err:
                raise FrontendError(f"{where}: example inputs: {in_words(err)}") from err
        if not isinstance(leaf, torch.Tensor):
            return leaf
        leaf = leaf.detach().cpu()
        return leaf.float() if halved and leaf.is_floating_point() else leaf

    def tensors(tree: Any) -> Any:
        return pytree.tree_map(tensor, tree)

    if isinstance(examples, Mapping):
        return (), {name: tensors(value) for name, value in examples.items()}
    if isinstance(examples, torch.Tensor | np.ndarray):
        return (tensor(examples),), {}
    if not isinstance(examples, tuple | list):
        got = type(examples).__name__
        raise FrontendError(f"{where}: example inputs: got {got}, expected a tensor, a list or tuple, or a dictionary")
    return tuple(tensors(value) for value in examples), {}
