"""Reduce a model to what it computes: fold what constants and shapes decide, and remove what does nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgesparse.frontend.fold import add_constant, constant, fold_constants, is_random, require_ends
from edgesparse.frontend.quantization import is_dequantizing, is_stored, require_parameters, stays_stored
from edgesparse.frontend.quantized_moves import move_quantized
from edgesparse.frontend.shapes import infer_shapes, static_shape
from edgesparse.graph.provenance import origins


def clean_up(model: ir.Model) -> ir.Model:
    """Fold constants and shapes, take constant branches and remove idle and repeated nodes until nothing changes.

    What dequantizes constants is folded last: whether it stays depends on what is around it.
    """
    model = _reduced(model, is_dequantizing)
    if any(is_dequantizing(node) for node in model.graph):
        model = _reduced(model, stays_stored)
    return model


def _reduced(model: ir.Model, kept: Callable[[ir.Node], bool]) -> ir.Model:
    steps: tuple[Callable[[ir.Graph], bool], ...] = (
        _know_types,
        _fold_shapes,
        _take_branches,
        _remove_idle,
        _share_results,
    )
    changed = True
    while changed:
        model = tidy(model)
        require_ends(model)
        require_parameters(model)
        model = infer_shapes(model)
        changed = move_quantized(model)
        changed |= fold_constants(model, kept)
        for step in steps:
            changed |= step(model.graph)
    return tidy(model)


def tidy(model: ir.Model) -> ir.Model:
    """Remove what nothing reads, and give every node and value a unique name."""
    passes = [
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.RemoveUnusedNodesPass(),
        common.TopologicalSortPass(),
        common.NameFixPass(),
        common.RemoveUnusedOpsetsPass(),
    ]
    _own_outputs(model.graph)
    _skip_identities(model.graph)
    for apply in passes:
        model = apply(model).model
    return model


def _know_types(graph: ir.Graph) -> bool:
    """A CastLike is a Cast to a type that is known."""
    found = False
    for node in graph:
        like = node.inputs[1] if node.op_type == "CastLike" and not node.domain else None
        if like is not None and like.dtype not in (None, ir.DataType.UNDEFINED):
            node.op_type, node.attributes["to"] = "Cast", ir.AttrInt64("to", int(like.dtype))  # type: ignore[arg-type]
            node.resize_inputs(1)
            found = True
    return found


def _fold_shapes(graph: ir.Graph) -> bool:
    """Shape and Size of a value whose shape is static are constants."""
    found = False
    for node in list(graph):
        shape = static_shape(node.inputs[0]) if node.op_type in ("Shape", "Size") and not node.domain else None
        if shape is None:
            continue
        if node.op_type == "Size":
            array = np.array(np.prod(shape, dtype=np.int64))
        else:
            array = np.array(shape[node.attributes.get_int("start", 0) : _end(node)], np.int64)
        replace_by(graph, node, add_constant(graph, array, f"{node.name}_constant"))
        found = True
    return found


def _end(node: ir.Node) -> int | None:
    attribute = node.attributes.get("end")
    return None if attribute is None else attribute.as_int()


def replace_by(graph: ir.Graph, node: ir.Node, *values: ir.Value) -> None:
    """Let the readers of `node`'s outputs read `values`; outputs of the graph keep their names."""
    for old, new in zip(node.outputs, values, strict=False):
        name = old.name
        if old.is_graph_output():
            copy = ir.node("Identity", [new], name=f"{name}_identity")
            copy.outputs[0].type, copy.outputs[0].shape = old.type, old.shape
            node.prepend(copy)
            new = copy.outputs[0]
            old.name = f"{name}_replaced"
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        if old.name != name:
            new.name = name
    graph.remove(node, safe=True)


def _take_branches(graph: ir.Graph) -> bool:
    """Replace an If whose condition is constant by the branch that it takes."""
    found = False
    for node in list(graph):
        condition = constant(node.inputs[0]) if node.op_type == "If" and not node.domain else None
        if condition is None:
            continue
        taken, other = ("then_branch", "else_branch") if condition.item() else ("else_branch", "then_branch")
        branch = node.attributes[taken].as_graph()
        _stop_reading(node.attributes[other].as_graph())
        moved = {
            value: add_constant(graph, value.const_value.numpy(), f"{node.name}_{name}", origins(value))  # type: ignore[union-attr]
            for name, value in branch.initializers.items()
        }
        results, nodes = [moved.get(value, value) for value in branch.outputs], list(branch)
        branch.outputs.clear()
        for value, copy in moved.items():
            value.replace_all_uses_with(copy)
        branch.remove(nodes)
        for inner in nodes:
            node.prepend(inner)
        replace_by(graph, node, *results)
        found = True
    return found


def _stop_reading(branch: ir.Graph) -> None:
    """Let a branch that is never taken read nothing of the graph around it."""
    for node in branch.all_nodes():
        for at in range(len(node.inputs)):
            node.replace_input_with(at, None)


def _remove_idle(graph: ir.Graph) -> bool:
    """Remove nodes whose output is their first input, unchanged."""
    found = False
    for node in list(graph):
        if not node.domain and node.op_type in _IDLE and _same(node) and _IDLE[node.op_type](node):
            replace_by(graph, node, node.inputs[0])  # type: ignore[arg-type]
            found = True
    return found


def _same(node: ir.Node) -> bool:
    """Whether the only output that matters has the type and static shape of the first input."""
    value, result = node.inputs[0], node.outputs[0]
    if value is None or value.dtype is None or value.dtype != result.dtype:
        return False
    others = any(other.name and (other.uses() or other.is_graph_output()) for other in node.outputs[1:])
    return not others and static_shape(value) is not None and static_shape(value) == static_shape(result)


def _whole(node: ir.Node) -> bool:
    """Whether a Slice takes the whole tensor in order; negative steps reverse axes."""
    steps = constant(node.inputs[4]) if len(node.inputs) > 4 and node.inputs[4] is not None else np.ones(1)
    return steps is not None and bool((steps > 0).all())


def _unpadded(node: ir.Node) -> bool:
    """Whether a Pad adds nothing; pads that only cancel each other would shift the tensor."""
    attribute = node.attributes.get("pads")
    pads = np.array(attribute.as_ints()) if attribute is not None else constant(node.inputs[1])
    return pads is not None and not pads.any()


def _inference(node: ir.Node) -> bool:
    return not is_random(node)


def _always(node: ir.Node) -> bool:
    return True


def _single(node: ir.Node) -> bool:
    return len(node.inputs) == 1


_IDLE: dict[str, Callable[[ir.Node], bool]] = {
    "Cast": _always,
    "Concat": _single,
    "Dropout": _inference,
    "Expand": _always,
    "Max": _single,
    "Mean": _single,
    "Min": _single,
    "Pad": _unpadded,
    "Reshape": _always,
    "Slice": _whole,
    "Squeeze": _always,
    "Sum": _single,
    "Tile": _always,
    "Unsqueeze": _always,
}
"""By operator: when an output with the type and shape of the first input is that input."""


def _share_results(graph: ir.Graph) -> bool:
    """Nodes that compute the same from the same are computed once."""
    known: dict[object, ir.Node] = {}
    found = False
    for node in list(graph):
        if node.op_type == "Identity" and not node.domain:  # what is left of them gives outputs of the graph
            continue
        if is_dequantizing(node) and is_stored(node.inputs[0]):  # its readers may want different ones
            continue
        if is_random(node) or any(attribute.type.name.startswith("GRAPH") for attribute in node.attributes.values()):
            continue
        attributes = [
            ir.to_proto(attribute).SerializeToString(deterministic=True) for attribute in node.attributes.values()
        ]
        outputs = tuple(bool(value.name) for value in node.outputs)
        key = (node.op_identifier(), tuple(map(id, node.inputs)), tuple(sorted(attributes)), outputs)
        first = known.setdefault(key, node)
        if first is not node:
            replace_by(graph, node, *first.outputs)
            found = True
    return found


def _skip_identities(graph: ir.Graph) -> None:
    """Let readers of a copy read the original; what gives an output of the graph takes its name."""
    for node in list(graph):
        if node.op_type != "Identity" or node.domain:
            continue
        value, copy = node.inputs[0], node.outputs[0]
        if value is None:
            continue
        for use in list(copy.uses()):
            use.node.replace_input_with(use.idx, value)
        if copy.is_graph_output() and value.producer() is not None and not value.is_graph_output():
            if value.producer().graph is not graph:  # type: ignore[union-attr]
                continue
            name = copy.name
            copy.replace_all_uses_with(value, replace_graph_outputs=True)
            copy.name, value.name = f"{name}_copy", name
        if not copy.is_graph_output():
            graph.remove(node, safe=True)


def _own_outputs(graph: ir.Graph) -> None:
    """List every output once, and let it be made by a node, or be an input under its own name."""
    values = list(dict.fromkeys(graph.outputs))
    if len(values) < len(graph.outputs):
        graph.outputs[:] = values
    for value in values:
        if value.producer() is None and value.const_value is not None:
            source = add_constant(graph, value.const_value.numpy(), f"{value.name}_constant", origins(value))
            copy = ir.node("Identity", [source], name=f"{value.name}_identity")
            copy.outputs[0].type, copy.outputs[0].shape = source.type, source.shape
            graph.append(copy)
            name = value.name or ""
            value.replace_all_uses_with(source, replace_graph_outputs=True)
            graph.outputs[:] = [copy.outputs[0] if output is source else output for output in graph.outputs]
            del graph.initializers[name]
            copy.outputs[0].name = name
