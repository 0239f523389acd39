"""Change the constants of a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgesparse.prune.structured.atoms import Labels
from edgesparse.prune.structured.flow import Flow, Use, name_of


def take_constants(flow: Flow, take: Callable[[Labels], np.ndarray]) -> None:
    """Take from every axis of a constant that has labels the indices that `take` says, in its order.

    A constant that is read in several ways becomes several.
    """
    readings: dict[str, list[tuple[Use, np.ndarray]]] = defaultdict(list)
    for use in flow.uses:
        array = flow.known(use.value)
        assert array is not None
        for axis, labels in enumerate(use.labels):
            if labels is not None:
                array = np.take(array, take(labels), axis)
        readings[str(use.value.name)].append((use, array))
    for name, read in readings.items():
        value, first = read[0][0].value, read[0][1]
        before = flow.known(value)
        assert before is not None
        if all(np.array_equal(before, array) for _, array in read):
            continue
        alike = len(value.uses()) == len(read) and all(np.array_equal(first, array) for _, array in read)
        if alike and name in flow.model.graph.initializers and not value.is_graph_output():
            value.const_value = ir.tensor(np.ascontiguousarray(first), name=name)
            value.shape = ir.Shape(first.shape)
        else:
            for use, array in read:
                set_constant(use.node, use.index, array)


def set_constant(node: ir.Node, index: int, array: np.ndarray) -> None:
    """Make input `index` of `node` a new initializer."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    old = node.inputs[index] if index < len(node.inputs) else None
    stem = f"{old.name if old is not None else name_of(node)}_kept"
    name, count = stem, 1
    while name in graph.initializers:
        name, count = f"{stem}_{count}", count + 1
    tensor = ir.tensor(np.ascontiguousarray(array), name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    graph.register_initializer(value)
    if len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)
