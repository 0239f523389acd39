"""Read-only views of the nodes and values of a normalised model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from edgesparse.errors import InternalError


def shape_of(value: ir.Value | None) -> tuple[int, ...]:
    """The shape of a value, static after the frontend."""
    if value is None or value.shape is None or not value.shape.is_static():
        raise InternalError(f"value {value.name if value else None!r} has no static shape after normalisation")
    return tuple(int(d) for d in value.shape)  # type: ignore[arg-type]


def dtype_of(value: ir.Value | None) -> str:
    """The numpy name of the dtype of a value."""
    if value is None or value.dtype is None:
        raise InternalError(f"value {value.name if value else None!r} has no type after normalisation")
    return str(value.dtype.numpy().name)


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array of an initializer or folded constant; None for anything computed at run time."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def ints(node: ir.Node, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """An integer-list attribute, or `default` when it is absent."""
    attribute = node.attributes.get(name)
    if attribute is None:
        if default is None:
            raise InternalError(f"node {node.name!r} ({node.op_type}) lacks the attribute {name!r}")
        return default
    return tuple(attribute.as_ints())


def padding(node: ir.Node, rank: int) -> tuple[np.ndarray, np.ndarray] | None:
    """What a Pad of a tensor of `rank` adds, [2, axes]: before and after each axis; and the axes.

    None where data supply them.
    """
    pads, named = constant(node.inputs[1]), node.inputs[3] if len(node.inputs) > 3 else None
    axes = np.arange(rank) if named is None else constant(named)
    return None if pads is None or axes is None else (pads.reshape(2, -1), axes)


def called(operator: str, name: str | None, outputs: Iterable[str | None]) -> str:
    """A node in messages: by its name, or by what it computes."""
    return f"{operator} {name!r}" if name else f"{operator} that computes {next(filter(None, outputs), '')!r}"


def told(node: ir.Node) -> str:
    """A node in messages, with the types and shapes of what it reads."""
    reads = (f"{v.name} {'?' if v.dtype is None else v.dtype}{_sizes(v)}" for v in node.inputs if v is not None)
    return f"{called(node.op_type, node.name, (v.name for v in node.outputs))} ({', '.join(reads)})"


def _sizes(value: ir.Value) -> str:
    return "[?]" if value.shape is None else f"[{', '.join(str(getattr(d, 'value', d)) for d in value.shape)}]"


def names_in(model: ir.Model) -> set[str]:
    """The names of all nodes and values of a model, branches included."""
    names = {name for node in model.graph.all_nodes() for name in (node.name, *(v.name for v in node.outputs))}
    for graph in model.graphs():
        names.update(value.name for value in (*graph.inputs, *graph.initializers.values()))
    return {name for name in names if name}


def free_name(name: str, taken: set[str]) -> str:
    """The name, lengthened until it is not in `taken`; from now on it is."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
