"""What only moves numbers moves them as they are stored: no dequantizing in front of it, no quantizing behind."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.frontend.fold import add_constant, constant
from edgesparse.frontend.quantization import (
    DEQUANTIZE,
    QUANTIZE,
    STORED,
    can_stay,
    dequantizing,
    goes_with_data,
    has_constant_parameters,
    is_of_tensor,
    is_standard,
    parameters,
)
from edgesparse.frontend.shapes import static_shape

RENAMING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
"""Operators that keep the order of their elements."""

PICKING = ("Gather", "GatherElements", "GatherND", "Slice", "Split")
"""Operators whose result may be smaller than their operand."""

MOVES = frozenset({*RENAMING, *PICKING, "DepthToSpace", "Expand", "Pad", "Resize", "SpaceToDepth", "Tile", "Transpose"})
"""Operators whose result is elements of their first operand; the others only say which."""

SAFE = float(np.finfo(np.float32).max) / (1 << 17)
"""Scales below do not overflow, whatever is stored in 16 bits."""


def move_quantized(model: ir.Model) -> bool:
    """Let what only moves numbers move them as they are stored, in place; returns whether anything has changed.

    A DequantizeLinear goes behind it, a QuantizeLinear in front of it, and the two vanish where they meet and are by
    the same numbers. None of this changes a result. Constants go along where their data are dequantized too.
    """
    graph = model.graph
    if not any(is_standard(node, QUANTIZE, DEQUANTIZE) for node in graph):
        return False
    changed = _part(graph)
    while any([_sink(graph), _hoist(graph), _cancel(graph)]):
        changed = True
    return changed


def moves(node: ir.Node) -> bool:
    """Whether what `node` computes are elements of its first operand."""
    if not is_standard(node, *MOVES):
        return False
    if node.op_type == "Resize":
        region = node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
        return node.attributes.get_string("mode", "nearest") == "nearest" and not region
    return True


def _part(graph: ir.Graph) -> bool:
    """Give readers that take constants as they are stored a DequantizeLinear apart from the others."""
    found = False
    for node in list(graph):
        value = node.outputs[0]
        if dequantizing(value) is not node or constant(node.inputs[0]) is None:
            continue
        uses = tuple(value.uses())
        stored = [use for use in uses if _takes_stored(use.node, use.idx)]
        if stored and (len(stored) < len(uses) or value.is_graph_output()):
            copy = copied(node)
            node.append(copy)
            for use in stored:
                use.node.replace_input_with(use.idx, copy.outputs[0])
            found = True
    return found


def copied(node: ir.Node) -> ir.Node:
    """Another node that reads and says the same."""
    copy = ir.node(node.op_type, list(node.inputs), attributes=dict(node.attributes), name=node.name)
    value, result = node.outputs[0], copy.outputs[0]
    result.name, result.type, result.shape = f"{value.name}_again", value.type, value.shape
    return copy


def _takes_stored(node: ir.Node, at: int) -> bool:
    """Whether `node` reads a constant as it is stored, or moves it to where all do."""
    if at == 0 and is_standard(node, QUANTIZE):
        return has_constant_parameters(node)
    if at == 0 and moves(node):
        uses = [use for value in node.outputs for use in value.uses()]
        at_end = any(value.is_graph_output() for value in node.outputs)
        return bool(uses) and not at_end and all(_takes_stored(use.node, use.idx) for use in uses)
    return goes_with_data(node, at)


def _sink(graph: ir.Graph) -> bool:
    """Dequantize behind what moves, not in front of it."""
    found = False
    for node in list(graph):
        before = dequantizing(node.inputs[0]) if moves(node) else None
        if before is None or (constant(before.inputs[0]) is not None and not _sinks_constant(before, node)):
            continue
        axis = 0 if is_of_tensor(before) else _moved_axis(node, before)
        stored = before.inputs[0]
        if (
            stored is None
            or stored.dtype is None
            or axis is None
            or not _store_padding(graph, node, before, lossless=True)
        ):
            continue
        node.replace_input_with(0, stored)
        for value in node.outputs:
            if value.name:
                _dequantize_behind(node, value, before, axis)
        _drop_unread(graph, before)
        found = True
    return found


def _sinks_constant(before: ir.Node, node: ir.Node) -> bool:
    return can_stay(before) and _takes_stored(node, 0)


def _dequantize_behind(node: ir.Node, value: ir.Value, before: ir.Node, axis: int) -> None:
    """Let `value` be stored as the operand of `before` is, and its readers read what is dequantized."""
    after = copied(before)
    after.name = f"{before.name}_{node.name}"
    after.attributes["axis"] = ir.AttrInt64("axis", axis)
    result, stored = after.outputs[0], before.inputs[0]
    assert stored is not None and stored.dtype is not None
    name, result.type, result.shape = value.name, value.type, value.shape
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    after.replace_input_with(0, value)
    node.append(after)
    value.name, result.name = f"{name}_stored", name
    value.type = ir.TensorType(stored.dtype)


def _moved_axis(node: ir.Node, before: ir.Node) -> int | None:
    """Where the axis that has a scale for each index is behind `node`; None where it is no longer an axis."""
    shape, result = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if shape is None or result is None:
        return None
    axis = before.attributes.get_int("axis", 1)
    if not -len(shape) <= axis < len(shape):
        return None
    axis %= len(shape)
    if node.op_type == "Transpose":
        return tuple(node.attributes.get_ints("perm", tuple(reversed(range(len(shape)))))).index(axis)
    if node.op_type not in RENAMING:
        return None
    places = range(len(result))
    kept = (at for at in places if result[at] == shape[axis] and prod(result[:at]) == prod(shape[:axis]))
    return next(kept, None)


def _store_padding(graph: ir.Graph, node: ir.Node, by: ir.Node, *, lossless: bool) -> bool:
    """Let a Pad add the stored form of its number, if there is one; true for all other operators.

    Args: lossless: only if dequantizing gives that number again.
    """
    if node.op_type != "Pad" or node.attributes.get_string("mode", "constant") != "constant":
        return True
    named = node.inputs[2] if len(node.inputs) > 2 else None
    given = np.zeros((), np.float32) if named is None else constant(named)
    stored = None if given is None or given.size != 1 else _stored(given.reshape(()), by, lossless=lossless)
    if stored is None:
        return False
    node.resize_inputs(max(3, len(node.inputs)))
    node.replace_input_with(2, add_constant(graph, stored, f"{node.name}_stored"))
    return True


def _stored(number: np.ndarray, by: ir.Node, *, lossless: bool) -> np.ndarray | None:
    """A number as a conversion by one float32 scale stores it; None where it cannot, or loses something."""
    scale, zero = parameters(by)
    value = by.inputs[0] if by.op_type == DEQUANTIZE else by.outputs[0]
    kind = None if value is None else value.dtype
    if not is_of_tensor(by) or kind not in STORED or scale is None or zero is None or scale.dtype != np.float32:
        return None
    step, shift, limits = scale.reshape(()), int(zero.item()), np.iinfo(kind.numpy())
    with np.errstate(all="ignore"):
        steps = float(np.rint(number.astype(np.float32) / step))
    if np.isnan(steps):
        return None
    stored = int(np.clip(steps + shift, limits.min, limits.max))
    if lossless and np.float32(stored - shift) * step != number:
        return None
    return np.array(stored, kind.numpy())


def _hoist(graph: ir.Graph) -> bool:
    """Quantize in front of what moves without leaving anything out, not behind it."""
    found = False
    for node in list(graph):
        moved = node.inputs[0] if is_standard(node, QUANTIZE) and is_of_tensor(node) else None
        mover = None if moved is None else moved.producer()
        if mover is None or moved is None or not moves(mover) or mover.op_type in PICKING or mover.graph is not graph:
            continue
        if (
            len(tuple(moved.uses())) > 1
            or moved.is_graph_output()
            or not _store_padding(graph, mover, node, lossless=False)
        ):
            continue
        _quantize_in_front(graph, node, mover)
        found = True
    return found


def _quantize_in_front(graph: ir.Graph, node: ir.Node, mover: ir.Node) -> None:
    source, moved, result = mover.inputs[0], mover.outputs[0], node.outputs[0]
    assert source is not None
    first = copied(node)
    first.replace_input_with(0, source)
    first.outputs[0].name, first.outputs[0].shape = f"{source.name}_stored", source.shape
    mover.prepend(first)
    mover.replace_input_with(0, first.outputs[0])
    name = result.name
    moved.type, moved.shape = result.type, result.shape if moved.shape is None else moved.shape
    result.replace_all_uses_with(moved, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    moved.name = name


def _cancel(graph: ir.Graph) -> bool:
    """What is dequantized and quantized again by the same numbers is what it was."""
    found = False
    for node in list(graph):
        before = dequantizing(node.inputs[0]) if is_standard(node, QUANTIZE) else None
        if before is None or not _undoes(before, node):
            continue
        stored = before.inputs[0]
        node.op_type = "Identity"  # for an output of the graph; others are skipped
        node.attributes.clear()
        node.resize_inputs(1)
        node.replace_input_with(0, stored)
        for use in list(node.outputs[0].uses()):
            use.node.replace_input_with(use.idx, stored)
        _drop_unread(graph, node)
        _drop_unread(graph, before)
        found = True
    return found


def _undoes(before: ir.Node, after: ir.Node) -> bool:
    """Whether a QuantizeLinear stores again, by float32 scales, exactly what a DequantizeLinear has read."""
    kind, scale = before.inputs[0].dtype, constant(before.inputs[1])  # type: ignore[union-attr]
    if kind is None or kind != after.outputs[0].dtype or not kind.is_integer() or kind.bitwidth > 16:
        return False
    if not has_constant_parameters(after) or scale is None or scale.dtype != np.float32 or (scale > SAFE).any():
        return False
    if scale.size > 1 and before.attributes.get_int("axis", 1) != after.attributes.get_int("axis", 1):
        return False
    return all(map(_same, parameters(before), parameters(after)))


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None or a.size == 0 or b.size == 0:
        return False
    one = a.size == 1 or b.size == 1
    return bool((a.ravel() == b.ravel()).all()) if one or a.size == b.size else False


def _drop_unread(graph: ir.Graph, node: ir.Node) -> None:
    if not any(value.uses() or value.is_graph_output() for value in node.outputs):
        graph.remove(node, safe=True)
