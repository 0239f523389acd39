"""From a module to ONNX, by torch.export and the exporter of torch.onnx."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes import common
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, OutputKind, TensorArgument

from edgesparse.errors import FrontendError
from edgesparse.frontend.shapes import OPSET
from edgesparse.frontend.torch.failures import untraceable, unwritable
from edgesparse.frontend.torch.names import tidy


def trace(
    module: torch.nn.Module, positional: tuple[Any, ...], named: Mapping[str, Any], where: str
) -> ExportedProgram:
    """Record what `module` computes for these arguments; their shapes become static.

    Raises: FrontendError: it computes something that cannot be recorded, or refuses the arguments.
    """
    try:
        with quiet():
            return torch.export.export(module, positional, dict(named), strict=False)
    except Exception as err:  # whatever the module itself raises, or what torch.export has against it
        raise FrontendError(f"{where}: {untraceable(err, module, positional, named)}") from err


def to_onnx(program: ExportedProgram, where: str) -> ir.Model:
    """Write a program in ONNX: layers and weights keep their qualified names, equal programs give equal bytes.

    Raises: FrontendError: an operator has no form in ONNX, an output is no tensor, or the program keeps a state.
    """
    names = _tensor_names(program, where)
    try:
        with quiet():
            exported = torch.onnx.export(program, dynamo=True, optimize=False, verbose=False, opset_version=OPSET)
    except Exception as err:
        raise FrontendError(f"{where}: {unwritable(err, program)}") from err
    model: ir.Model = common.RemoveUnusedNodesPass()(exported.model).model
    for name in exported.exported_program.graph_signature.buffers_to_mutate.values():
        if name in model.graph.initializers:
            raise FrontendError(
                f"{where}: buffer {name!r} changes from one inference to the next, expected none that does; "
                "remedy: make it an input and an output"
            )
    return tidy(model, names)


def _tensor_names(program: ExportedProgram, where: str) -> list[str]:
    """The names of the outputs; those that are None are left out."""
    outputs = [spec.arg for spec in program.graph_signature.output_specs if spec.kind == OutputKind.USER_OUTPUT]
    names: list[str] = []
    for name, output in zip(output_names(program.call_spec.out_spec), outputs, strict=True):
        if isinstance(output, TensorArgument):
            names.append(name)
        elif not (isinstance(output, ConstantArgument) and output.value is None):
            got = repr(output.value) if isinstance(output, ConstantArgument) else type(output).__name__
            raise FrontendError(f"{where}: output {name!r} is {got}, expected a tensor; remedy: return tensors only")
    if not names:
        raise FrontendError(f"{where}: it returns nothing, expected a tensor")
    return names


def output_names(spec: Any) -> list[str]:
    """A name for every output: the keys of dictionaries, the fields of tuples that have names, else numbers."""

    def names(spec: Any, prefix: str) -> Iterator[str]:
        if spec.is_leaf():
            yield prefix or "output"
            return
        children = spec.children()
        keys = getattr(spec.context, "_fields", spec.context)
        named = isinstance(keys, list | tuple) and len(keys) == len(children)
        labels = list(keys) if named else [f"output_{at}" if not prefix else at for at in range(len(children))]
        for label, child in zip(labels, children, strict=True):
            yield from names(child, f"{prefix}_{label}" if prefix else str(label))

    return list(names(spec, ""))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what torch logs, warns and prints about exporting off the terminal."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
