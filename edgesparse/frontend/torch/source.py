"""Find the module or exported program that the user means, and what to trace it with."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from edgesparse.errors import FrontendError
from edgesparse.frontend.read import Examples
from edgesparse.frontend.torch import archive
from edgesparse.frontend.torch.export import to_onnx, trace
from edgesparse.frontend.torch.failures import reason
from edgesparse.frontend.torch.masks import prepared

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
    return _made(where, *str(source).split(":"))


def _made(where: str, module_name: str, attribute: str) -> Any:
    """Call the factory `attribute` of a module; the working directory can be imported from."""
    with _importable(Path.cwd()):
        try:
            holder = importlib.import_module(module_name)
        except ModuleNotFoundError as err:
            if err.name is None or not f"{module_name}.".startswith(f"{err.name}."):
                raise FrontendError(f"{where}: importing {module_name} failed: {reason(err)}") from err
            raise FrontendError(f"{where}: there is no module {err.name!r}, here or installed") from err
        except (Exception, SystemExit) as err:
            raise FrontendError(f"{where}: importing {module_name} failed: {reason(err)}") from err
        factory = getattr(holder, attribute, None)
        if not callable(factory):
            near = difflib.get_close_matches(attribute, [name for name in vars(holder) if callable(vars(holder)[name])])
            hint = f"; did you mean {near[0]}?" if near else ""
            raise FrontendError(f"{where}: {module_name} has no function {attribute!r}{hint}")
        if isinstance(factory, torch.nn.Module | ExportedProgram):
            return factory
        try:
            made = factory()
        except (Exception, SystemExit) as err:
            raise FrontendError(f"{where}: the factory failed: {reason(err)}") from err
    pair = isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module)
    if not pair and not isinstance(made, torch.nn.Module | ExportedProgram):
        raise FrontendError(
            f"{where}: the factory returned {type(made).__name__}, expected a torch.nn.Module, "
            "(module, example_inputs) or an ExportedProgram"
        )
    return made


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules in `folder` be imported for the time of the block, before all others."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _arguments(examples: Examples, where: str, *, halved: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of `forward`, tensors on the CPU; floats as float32 where weights were made so."""

    def tensor(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray):
            try:
                leaf = torch.from_numpy(leaf)
            except TypeError as err:
                raise FrontendError(f"{where}: example inputs: {reason(err)}") from err
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
