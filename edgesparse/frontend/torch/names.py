"""Clean an export of torch.onnx up: constants folded, layers and weights named as in the module."""

from __future__ import annotations

import ast
from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from edgesparse.sparsity.weights import find_weights

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where the exporter says from which modules a node comes, outermost first; last comes the node of torch.export."""

MOVERS = ("Transpose", "Identity", "Reshape")


def tidy(model: ir.Model, outputs: Sequence[str]) -> ir.Model:
    """Return `model` with readable names, its outputs called `outputs`, and without metadata; it may be changed."""
    given = set(model.graph.initializers)
    optimizer.fold_constants(model, should_fold=_should_fold)
    _drop_zero_biases(model, given)
    passes = (
        common.IdentityEliminationPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
    )
    for apply in passes:
        model = apply(model).model
    _name_outputs(model.graph, outputs)
    _name_weights(model, given)
    _name_nodes(model)
    _drop_metadata(model)
    return model


def _should_fold(node: ir.Node) -> bool:
    """Fold all that is computed from constants, but do not store a weight twice because a reader moves its elements."""
    source = node.inputs[0] if node.inputs else None
    return node.op_type not in MOVERS or source is None or len(source.uses()) == 1


def _drop_zero_biases(model: ir.Model, given: set[str]) -> None:
    """Remove the zeros that the exporter adds to every convolution without a bias; they would count as parameters."""
    for node in model.graph.all_nodes():
        if node.op_type in ("Conv", "ConvTranspose") and len(node.inputs) == 3:
            bias = node.inputs[2]
            value = None if bias is None or bias.name in given else bias.const_value
            if value is not None and not value.numpy().any():
                node.resize_inputs(2)


def _scope(node: ir.Node) -> str:
    """Qualified name of the module that a node comes from; empty for the outermost, or if the exporter says none."""
    scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
    return str(scopes[-2]) if len(scopes) > 1 else ""


def _name_outputs(graph: ir.Graph, names: Sequence[str]) -> None:
    """Give every output its name and a node of its own: an input, a weight or another output is copied."""
    taken = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    seen: set[ir.Value] = set()
    for at, (value, name) in enumerate(zip(graph.outputs, names, strict=True)):
        if value.producer() is None or value in seen:
            copy = ir.node("Identity", [value])
            copy.outputs[0].type, copy.outputs[0].shape = value.type, value.shape
            graph.append(copy)
            graph.outputs[at] = value = copy.outputs[0]
        seen.add(value)
        value.name = f"{name}_output" if name in taken else name


def _name_weights(model: ir.Model, given: set[str]) -> None:
    """Call a weight that was computed while exporting, such as weight * mask, what its module calls it."""
    initializers = model.graph.initializers
    nodes = {node.name: node for node in model.graph.all_nodes()}
    for ref in find_weights(model):
        name = f"{_scope(nodes[ref.node])}.weight".lstrip(".")
        if ref.tensor not in given and ref.tensor in initializers and name not in initializers:
            value = initializers.pop(ref.tensor)
            value.name = name
            initializers.add(value)


def _name_nodes(model: ir.Model) -> None:
    """Name the node that holds a module's weight as the module, others MODULE.Operator, and values as their nodes.

    A weight that modules share has the name of one of them.
    """
    layers = {ref.node for ref in find_weights(model) if ref.tensor.endswith(".weight")}
    taken = {value.name for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values())}
    for node in model.graph.all_nodes():
        scope = _scope(node)
        reads_weight = f"{scope}.weight" in {value.name for value in node.inputs if value}
        is_layer = scope and node.op_type not in MOVERS and (node.name in layers or reads_weight)
        node.name = _free(scope if is_layer else f"{scope}.{node.op_type}".lstrip("."), taken)
        for at, value in enumerate(node.outputs):
            if not value.is_graph_output():
                value.name = node.name if at == 0 else f"{node.name}:{at}"


def _free(name: str, taken: set[str | None]) -> str:
    free, count = name, 1
    while free in taken:
        free, count = f"{name}_{count}", count + 1
    taken.add(free)
    return free


def _drop_metadata(model: ir.Model) -> None:
    """Remove what says where and how the model was made, source paths of this machine among it."""
    model.metadata_props.clear()
    for graph in model.graphs():
        graph.metadata_props.clear()
        for value in (*graph.inputs, *graph.initializers.values()):
            value.metadata_props.clear()
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
