"""From a module to ONNX, by torch.export and the exporter of torch.onnx."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir
import torch
from torch.export import ExportedProgram

from edgesparse.errors import FrontendError
from edgesparse.frontend.opset import OPSET
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
        raise FrontendError(f"{where}: torch.export cannot trace it: {reason(err)}") from err


def to_onnx(program: ExportedProgram, where: str) -> ir.Model:
    """Write a program in ONNX: layers and weights keep their qualified names, equal programs give equal bytes.

    Raises: FrontendError: an operator has no form in ONNX.
    """
    taken = set(program.graph_signature.user_inputs)
    names = [f"{name}_output" if name in taken else name for name in output_names(program.call_spec.out_spec)]
    try:
        with quiet():
            exported = torch.onnx.export(
                program, dynamo=True, optimize=False, verbose=False, output_names=names, opset_version=OPSET
            )
    except Exception as err:
        raise FrontendError(f"{where}: torch.onnx cannot export it: {reason(_innermost(err))}") from err
    model: ir.Model = exported.model
    return tidy(model)


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
    """Keep what torch logs and warns about exporting off the terminal."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def reason(err: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return f"{type(err).__name__}: {lines[0]}" if lines else type(err).__name__


def _innermost(err: BaseException) -> BaseException:
    while err.__cause__ is not None:
        err = err.__cause__
    return err
