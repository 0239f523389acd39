"""Say in one line where and why a module cannot be exported."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from edgesparse.errors import in_words

_TORCH = Path(torch.__file__).parent
_NO_FORM = re.compile(r"No ONNX function found for <OpOverload\(op='(?P<op>[^']+)'")


def untraceable(err: Exception, module: torch.nn.Module, positional: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    """Why `torch.export` gave up on a module with these arguments."""
    misfit = _misfit(module, positional, named) if isinstance(err, TypeError) else None
    if misfit is not None:
        return misfit
    where = f"torch.export cannot trace it{_place(err, module)}"
    if isinstance(err, GuardOnDataDependentSymNode):
        return (
            f"{where}: what it computes depends on the values of a tensor, expected on shapes only; "
            "remedy: choose with torch.where, or leave that part out of the module"
        )
    return f"{where}: {in_words(err)}"


def unwritable(err: BaseException, program: ExportedProgram) -> str:
    """Why `torch.onnx` gave up on a program."""
    while err.__cause__ is not None:
        err = err.__cause__
    found = _NO_FORM.match(str(err))
    if found is None:
        return f"torch.onnx cannot export it: {in_words(err)}"
    operator = found["op"]  # what is left of one that the module calls, such as prims.sinc of aten.special_sinc
    layers = [_layer_of(node) for node in program.graph.nodes if _name(node).endswith(operator.rpartition(".")[2])]
    place = f" (layer {layers[0]!r})" if any(layers) else ""
    return (
        f"torch.onnx cannot export it{place}: ONNX has nothing for {operator}; "
        "remedy: write it with other operators, or leave that part out of the module"
    )


def _misfit(module: torch.nn.Module, positional: tuple[Any, ...], named: Mapping[str, Any]) -> str | None:
    """What is wrong with the arguments for `forward`, if it takes others."""
    signature = inspect.signature(module.forward)
    try:
        signature.bind(*positional, **named)
    except TypeError as err:
        return f"example inputs do not fit: {err}; expected those of forward({', '.join(signature.parameters)})"
    return None


def _place(err: BaseException, module: torch.nn.Module) -> str:
    """The innermost layer in which an error came up, and the last line of its layers that is not torch's."""
    names = {id(vars(layer)): name for name, layer in module.named_modules()}  # traced layers are proxies of these
    layer = line = ""
    for frame, number in traceback.walk_tb(err.__traceback__):
        owner = frame.f_locals.get("self")
        if not isinstance(owner, torch.nn.Module) or id(vars(owner)) not in names:
            continue
        layer = names[id(vars(owner))] or layer
        file = Path(frame.f_code.co_filename)
        if not file.is_relative_to(_TORCH):
            line = f"{file.name}:{number}"
    said = ", ".join([*([f"layer {layer!r}"] if layer else []), *([line] if line else [])])
    return f" ({said})" if said else ""


def _name(node: torch.fx.Node) -> str:
    """The name of the operator that a node calls, without its library and overload; empty if it calls none."""
    return node.target.__name__.partition(".")[0] if isinstance(node.target, torch._ops.OpOverload) else ""


def _layer_of(node: torch.fx.Node) -> str:
    """The qualified name of the innermost module that a node comes from."""
    names = [str(name) for name, _ in node.meta.get("nn_module_stack", {}).values()]
    return names[-1] if names else ""
