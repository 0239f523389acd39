"""What only moves numbers moves them as they are stored: no dequantizing in front of it, no quantizing behind."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgesparse.frontend.fold import constant

MOVES = frozenset(
    {
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators whose result is elements of their first operand; the others only say which."""


def move_quantized(model: ir.Model) -> None:
    """Let operators that only move numbers read and write them as they are stored, where the same scale and zero point
    stand in front of them and behind.

    Dequantizing and quantizing again by the same numbers gives what was there: the bytes stay the same.
    """
    graph = model.graph
    for node in list(graph):
        if node.op_type not in MOVES or node.domain not in ("", "ai.onnx"):
            continue
        before = node.inputs[0].producer() if node.inputs[0] is not None else None
        after = _only_reader(node.outputs[0])
        if before is None or after is None or not _undoes(before, after):
            continue
        stored, result, moved = before.inputs[0], after.outputs[0], node.outputs[0]
        assert stored is not None
        node.replace_input_with(0, stored)
        moved.type = ir.TensorType(stored.dtype)  # type: ignore[arg-type]
        name, was_output = result.name, result.is_graph_output()
        result.replace_all_uses_with(moved, replace_graph_outputs=was_output)
        graph.remove(after, safe=True)
        if was_output:
            moved.name = name


def _undoes(before: ir.Node, after: ir.Node) -> bool:
    """Whether a QuantizeLinear stores again what a DequantizeLinear read, tensor-wide."""
    if (before.op_type, after.op_type) != ("DequantizeLinear", "QuantizeLinear") or before.domain or after.domain:
        return False
    if before.inputs[0] is None or before.inputs[0].dtype != after.outputs[0].dtype:
        return False
    ours, theirs = ([constant(value) for value in node.inputs[1:3]] for node in (before, after))
    if len(ours) != len(theirs) or any(array is None or array.size != 1 for array in (*ours, *theirs)):
        return False
    return all(np.array_equal(a.reshape(()), b.reshape(())) for a, b in zip(ours, theirs, strict=True))  # type: ignore[union-attr]


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None
