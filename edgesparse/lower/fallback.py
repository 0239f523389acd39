"""Whatever has no kernel of ours: imported by TVM's Relax, scheduled by one generic rule."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgesparse.lower.kernel import Call
from edgesparse.lower.relax.emit import emit_calls
from edgesparse.lower.relax.importer import import_group
from edgesparse.lower.relax.schedule import schedule
from edgesparse.lower.relax.supported import refusal
from edgesparse.targets import Target


def supports(node: ir.Node) -> str | None:
    """Why `node` cannot be lowered, or None where it can."""
    return refusal(node)


def lower_group(nodes: Sequence[ir.Node], target: Target) -> list[Call]:
    """Lower a convex, connected group of nodes in topological order.

    Every value has a static shape and dtype. Group inputs and outputs keep their ONNX names.

    Raises: LowerError: an operator has no lowering.
    """
    inside = set(nodes)
    outputs = [
        value
        for node in nodes
        for value in node.outputs
        if value.name and (value.is_graph_output() or any(use.node not in inside for use in value.uses()))
    ]
    if not outputs:
        return []
    name, op = str(nodes[-1].name or outputs[-1].name), "+".join(node.op_type for node in nodes)
    calls = []
    for call in import_group(nodes, outputs):
        calls += emit_calls(schedule(call.func), call, name, op, target)
    return calls
