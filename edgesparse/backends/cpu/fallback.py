"""Whatever has no kernel of ours: imported by TVM's Relax, or written as tensor expressions; scheduled by one rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from edgesparse.backends.cpu.causes import cause
from edgesparse.backends.cpu.kernel import Call
from edgesparse.backends.cpu.relax.checks import checks, follows
from edgesparse.backends.cpu.relax.emit import emit_calls
from edgesparse.backends.cpu.relax.importer import import_group
from edgesparse.backends.cpu.relax.operators import own_lowering
from edgesparse.backends.cpu.relax.schedule import schedule
from edgesparse.backends.cpu.tensors import tensor
from edgesparse.devices.targets import Target
from edgesparse.errors import LowerError
from edgesparse.nodes import told
from edgesparse.program import MAX_STEP_ARGS


def lower_group(nodes: Sequence[ir.Node], target: Target) -> list[Call]:
    """Lower a convex group of nodes in topological order; elementwise neighbours become one kernel.

    Every value has a static shape and dtype. Values keep their ONNX names; what lies between two kernels of one
    operator has a name that no ONNX value has.

    Raises: LowerError: an operator has no lowering, or a constant is no index into what it is for.
    """
    return [call for part in _parts(nodes) for call in _lower_part(part, target)]


def _lower_part(nodes: Sequence[ir.Node], target: Target) -> list[Call]:
    """Lower nodes together; in halves where that gives a kernel of more arguments than a step can have."""
    outputs = _outputs(nodes)
    if not outputs:
        return []
    own = own_lowering(nodes[0])
    if own is not None:
        return [*checks(nodes[0]), *own(nodes[0], target)]
    name, op = str(nodes[-1].name or outputs[-1].name), "+".join(node.op_type for node in nodes)
    try:
        imported = import_group(nodes, outputs)
        calls = [made for call in imported for made in emit_calls(schedule(call.func), call, name, op, target)]
    except LowerError:
        raise
    except Exception as err:  # TVM raises whatever it meets
        raise LowerError(f"{_culprit(nodes)}: TVM cannot compile it: {cause(err)}") from err
    if len(nodes) > 1 and max(call.kernel.arguments for call in calls) > MAX_STEP_ARGS:
        half = len(nodes) // 2
        return [*_lower_part(nodes[:half], target), *_lower_part(nodes[half:], target)]
    return [*checks(nodes[0]), *calls]


def _culprit(nodes: Sequence[ir.Node]) -> str:
    """The first node that TVM cannot import by itself, or all."""
    for node in nodes:
        try:
            import_group([node], _outputs([node]))
        except Exception:
            return told(node)
    return " and ".join(told(node) for node in (nodes[0], *nodes[1:][-1:]))


def _parts(nodes: Sequence[ir.Node]) -> Iterator[list[ir.Node]]:
    """Runs of nodes that are imported together: nodes with a lowering of their own stand alone, and one whose operands
    are checked starts a run, so that they are in memory before."""
    run: list[ir.Node] = []
    for node in nodes:
        alone = own_lowering(node) is not None
        if run and (alone or follows(node)):
            yield run
            run = []
        if alone:
            yield [node]
        else:
            run.append(node)
    if run:
        yield run


def _outputs(nodes: Sequence[ir.Node]) -> list[ir.Value]:
    """What others read of the values that `nodes` compute."""
    inside = set(nodes)
    return [
        value
        for node in nodes
        for value in node.outputs
        if value.name
        and tensor(value).size
        and (value.is_graph_output() or any(use.node not in inside for use in value.uses()))
    ]
