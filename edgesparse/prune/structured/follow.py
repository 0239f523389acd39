"""Follow atoms through a whole model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgesparse.prune.samples import check_samples
from edgesparse.prune.structured import pointwise, products, rearrange, reshape
from edgesparse.prune.structured.extents import follow_extents
from edgesparse.prune.structured.flow import Flow
from edgesparse.prune.structured.probe import probe

RULES = {**products.RULES, **pointwise.RULES, **rearrange.RULES, **reshape.RULES}
"""How atoms pass each operator; what is read by any other stays as it is."""


def follow(model: ir.Model, calibration: Mapping[str, np.ndarray] | None, *, resizes: bool = True) -> Flow:
    """Find what goes together, or with `resizes` false what changes places together.

    Where an axis is split into several, such as one into heads and their sizes, its atoms can follow only one. Each
    is tried in turn, outermost first, until one is found that can get smaller.

    Args: calibration: samples by input name, of which one is run to learn shapes; made-up inputs by default.

    Raises: PruneError: the samples do not fit, or ONNX Runtime cannot run the model.
    """
    known = probe(model, None if calibration is None else next(check_samples(model, calibration).feeds()))
    choices: dict[str, int] = {}
    while True:
        flow = Flow(model, known, choices, resizes=resizes)
        _walk(flow)
        stuck = [
            name
            for name, (labels, factors) in flow.splits.items()
            if choices.get(name, 0) + 1 < factors and all(flow.atoms.frozen(atom) for atom in labels.tolist())
        ]
        if not stuck:
            return flow
        for name in stuck:
            choices[name] = choices.get(name, 0) + 1


def _walk(flow: Flow) -> None:
    graph = flow.model.graph
    for node in graph:
        if follow_extents(flow, node) or all(flow.is_constant(value) for value in node.outputs):
            continue
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None or not _visible(flow, node):
            flow.decline(node)
            _keep_captured(flow, node)
        else:
            rule(flow, node)
    for value in graph.outputs:
        flow.freeze_value(value, "it is an output of the model")


def _visible(flow: Flow, node: ir.Node) -> bool:
    """Whether all that a node reads and makes are tensors, and it makes one, or splits one."""
    made = [value for value in node.outputs if value.name and (value is node.outputs[0] or value.uses())]
    named = [value for value in (*node.inputs, *made) if value is not None]
    return all(value.name in flow.probe.shapes for value in named) and (len(made) == 1 or node.op_type == "Split")


def _keep_captured(flow: Flow, node: ir.Node) -> None:
    """Keep what the branches and bodies of a node read."""
    for attribute in node.attributes.values():
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            graphs = [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else attribute.as_graphs()
            for graph in graphs:
                for inner in graph.all_nodes():
                    for value in inner.inputs:
                        flow.freeze_value(value, f"a branch of {node.op_type} reads it")
                for value in graph.outputs:
                    flow.freeze_value(value, f"a branch of {node.op_type} returns it")
