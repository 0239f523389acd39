"""Clean an export of torch.onnx up: constants folded, layers and weights named as in the module, no traces of the machine."""

from __future__ import annotations

import ast
from collections.abc import Iterable

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from edgesparse.sparsity.weights import find_weights

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where the exporter says from which modules a node comes, outermost first; the last entry is the node of torch.export."""

MOVERS = ("Transpose", "Identity", "Reshape")


def tidy(model: ir.Model) -> ir.Model:
    """Return `model` with readable names and without metadata; it may be changed."""
    given = set(model.graph.initializers)
    optimizer.fold_constants(model, should_fold=_should_fold)
    passes = (
        common.IdentityEliminationPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.CommonSubexpressionEliminationPass(),
        common.DeduplicateInitializersPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
    )
    for apply in passes:
        model = apply(model).model
    _name_weights(model, given)
    _name_nodes(model)
    _drop_metadata(model)
    return model


def _should_fold(node: ir.Node) -> bool | None:
    """Fold all that is computed from constants, but leave weights as the module has them: a Transpose only moves them."""
    return node.op_type not in MOVERS or None


def _scope(node: ir.Node) -> str:
    """Qualified name of the module that a node comes from; empty for the outermost, and where the exporter is silent."""
    scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
    return str(scopes[-2]) if len(scopes) > 1 else ""


def _name_weights(model: ir.Model, given: Iterable[str]) -> None:
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
    """Name the node that holds a module's weight as the module, others MODULE.Operator, and values as their nodes."""
    taken = {value.name for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values())}
    for node in model.graph.all_nodes():
        scope = _scope(node)
        weight = f"{scope}.weight".lstrip(".")
        is_layer = scope and node.op_type not in MOVERS and any(_stored_name(v) == weight for v in node.inputs)
        node.name = _free(scope if is_layer else f"{scope}.{node.op_type}".lstrip("."), taken)
        for at, value in enumerate(node.outputs):
            if not value.is_graph_output():
                value.name = node.name if at == 0 else f"{node.name}:{at}"


def _stored_name(value: ir.Value | None) -> str | None:
    """Name of the initializer behind `value`, seen through what only moves it."""
    while value is not None and (node := value.producer()) is not None and node.op_type in MOVERS:
        value = node.inputs[0]
    return value.name if value is not None and value.is_initializer() else None


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
