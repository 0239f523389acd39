"""Give the values of chosen nodes another floating-point type; what others read and write stays as it is."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgesparse.graph import provenance
from edgesparse.nodes import constant, free_name, names_in

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)


def retype(model: ir.Model, chosen: Collection[ir.Node], to: ir.DataType) -> None:
    """Let chosen nodes compute with float values of one type, in place: all their floats become so.

    Constants are rounded to the nearest; casts stand where other nodes, or the caller, meet a value of theirs.
    """
    _Retyping(model, to).run(chosen)
    common.RemoveUnusedNodesPass()(model)


class _Retyping:
    def __init__(self, model: ir.Model, to: ir.DataType) -> None:
        self._graph = model.graph
        self._to = to
        self._names = names_in(model)
        self._before: dict[ir.Value, ir.DataType] = {}  # types that values had
        self._cast: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def run(self, chosen: Collection[ir.Node]) -> None:
        for node in list(self._graph):
            for at, value in enumerate(node.inputs):
                if value is None or value.dtype not in FLOATS:
                    continue
                wanted = self._to if node in chosen else self._before.get(value, value.dtype)
                if wanted != value.dtype:
                    node.replace_input_with(at, self._as(value, wanted, before=node))
            for value in node.outputs if node in chosen else ():
                if value.dtype in FLOATS and value.dtype != self._to:
                    self._before[value] = value.dtype
                    value.type = ir.TensorType(self._to)
        for at, value in enumerate(self._graph.outputs):
            if value in self._before:
                self._give_back(at, value)

    def _as(self, value: ir.Value, to: ir.DataType, before: ir.Node | None) -> ir.Value:
        """The value in another type: of a constant another constant; what was cast from that type, and lost nothing."""
        source = value.producer()
        if source is not None and source.op_type == "Cast" and value.dtype == ir.DataType.FLOAT:
            (origin,) = source.inputs
            if origin is not None and origin.dtype == to:
                return origin
        if (value, to) not in self._cast:
            self._cast[value, to] = self._made(value, to, before)
        return self._cast[value, to]

    def _made(self, value: ir.Value, to: ir.DataType, before: ir.Node | None) -> ir.Value:
        name = free_name(f"{value.name}/{to.numpy().name}", self._names)
        array = constant(value)
        if array is None or value.is_graph_input():
            made = ir.Value(name=name, type=ir.TensorType(to), shape=value.shape)
            self._insert(value, made, to, before)
            return made
        with np.errstate(over="ignore"):
            tensor = ir.tensor(array.astype(to.numpy()), name=name)
        made = ir.Value(name=name, type=ir.TensorType(to), shape=value.shape, const_value=tensor)
        provenance.keep(made, provenance.origins(value))
        self._graph.register_initializer(made)
        return made

    def _insert(self, value: ir.Value, made: ir.Value, to: ir.DataType, before: ir.Node | None) -> None:
        name = free_name(f"{made.name}/cast", self._names)
        cast = ir.Node("", "Cast", [value], [ir.AttrInt64("to", to.value)], outputs=[made], name=name)
        source = value.producer()
        if source is not None:
            self._graph.insert_after(source, cast)
        elif before is not None:
            self._graph.insert_before(before, cast)
        else:
            self._graph.append(cast)

    def _give_back(self, at: int, value: ir.Value) -> None:
        """Make an output of the graph what it was, by its name."""
        name = str(value.name)
        value.name = free_name(f"{name}/{self._to.numpy().name}", self._names)
        made = ir.Value(name=name, type=ir.TensorType(self._before[value]), shape=value.shape)
        self._insert(value, made, self._before[value], None)
        self._graph.outputs[at] = made
