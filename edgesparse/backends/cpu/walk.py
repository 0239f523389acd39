"""Walk the ops of a plan in order and emit kernel calls: ours for hot operators, TVM's for everything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.backends.cpu.columns import lower_columns
from edgesparse.backends.cpu.fallback import lower_group
from edgesparse.backends.cpu.fused import lower_attention, lower_depthwise, lower_layer
from edgesparse.backends.cpu.integers import is_end, lower_end, lower_integer, lower_integer_depthwise
from edgesparse.backends.cpu.kernel import Call, Tensor
from edgesparse.backends.cpu.kernels import matmul, norm, pool, softmax
from edgesparse.backends.cpu.kernels.copy import copy_constant, untile
from edgesparse.backends.cpu.scope import Scope
from edgesparse.backends.cpu.tensors import constant, ints, tensor
from edgesparse.devices.targets import Target
from edgesparse.graph.attention import Attention
from edgesparse.graph.integer import Integer
from edgesparse.graph.layout import Tiles
from edgesparse.graph.ops import Depthwise, IntegerDepthwise, Other, Weighted
from edgesparse.plan import Plan

Lowering = Callable[[ir.Node, Target], list[Call] | None]

LOWERINGS: dict[str, Lowering] = {
    "AveragePool": pool.lower_pool,
    "GlobalAveragePool": pool.lower_pool,
    "GlobalMaxPool": pool.lower_pool,
    "GroupNormalization": norm.lower_norm,
    "InstanceNormalization": norm.lower_norm,
    "LayerNormalization": norm.lower_norm,
    "LogSoftmax": softmax.lower_softmax,
    "MatMul": matmul.lower_matmul,
    "MaxPool": pool.lower_pool,
    "RMSNormalization": norm.lower_norm,
    "ReduceMax": pool.lower_pool,
    "ReduceMean": pool.lower_pool,
    "ReduceMin": pool.lower_pool,
    "ReduceSum": pool.lower_pool,
    "Softmax": softmax.lower_softmax,
}
"""Operators with kernels of ours; one that returns None leaves the node to TVM."""


@dataclass(frozen=True)
class Lowered:
    """A model as calls on named tensors."""

    calls: tuple[Call, ...]
    inputs: dict[str, Tensor]  # by ONNX name
    outputs: dict[str, Tensor]


def lower_ops(
    plan: Plan, target: Target, *, expose: bool = False, progress: Callable[[float], None] = lambda share: None
) -> Lowered:
    """Lower every op of a plan.

    Args:
        expose: also make an output of every value that exists at run time, to compare layer by layer.
        progress: called with the share of the ops that are lowered.

    Raises: LowerError: an operator has no lowering.
    """
    walk = _Walk(plan, target)
    walk.run(progress)
    scope, graph = walk.scope, plan.graph.model.graph
    wanted = list(graph.outputs)
    if expose:
        wanted += [value for value in walk.produced if value not in set(wanted)]
    outputs = {str(value.name): _output(value, scope, plan.tiled) for value in wanted}
    return Lowered(tuple(scope.calls), {str(v.name): tensor(v) for v in graph.inputs}, outputs)


def _output(value: ir.Value, scope: Scope, tiled: Mapping[ir.Value, Tiles]) -> Tensor:
    array = constant(value)
    if array is not None:
        written = tensor(value)
        if not scope.is_written(written):
            scope.emit([copy_constant(written, np.ascontiguousarray(array), scope.target)])
        return written
    if value in tiled:
        stored = scope.written(value, tiled[value])
        scope.emit_stored(untile(stored, tiled[value], scope.write_rows(value), scope.target))
    found = scope.rows(value)
    assert isinstance(found, Tensor)
    return found


class _Walk:
    def __init__(self, plan: Plan, target: Target) -> None:
        self.plan = plan
        self.target = target
        self.scope = Scope(plan.graph.model.graph.inputs, target)
        self.produced: list[ir.Value] = []  # values that calls wrote, in order
        self._pending: list[ir.Node] = []  # neighbours for TVM to fuse

    def run(self, progress: Callable[[float], None]) -> None:
        ops, joined = self.plan.graph.ops, self.plan.joined
        hosts = {joined[op.layer.name]: op for op in self.plan.graph.weighted if op.layer.name in joined}
        for done, op in enumerate(ops):
            progress(done / len(ops))
            if isinstance(op, Other):
                self._emit_node(op)
            elif op not in hosts.values():
                self._emit_fused(hosts.get(op, op))  # type: ignore[arg-type]
        self._flush()

    def _emit_fused(self, op: Weighted | Depthwise | Attention | IntegerDepthwise | Integer) -> None:
        self._flush()
        if isinstance(op, Weighted):
            found = self.plan.joined.get(op.layer.name)
            lower_layer(op, self.plan.layers[op.layer.name], found, self.plan.tiled, self.scope)
            self.produced.append(op.output if found is None else found.output)
            return
        if isinstance(op, Integer):
            lower_integer(op, self.scope)
        elif isinstance(op, IntegerDepthwise):
            lower_integer_depthwise(op, self.scope)
        elif isinstance(op, Depthwise):
            lower_depthwise(op, self.scope)
        else:
            lower_attention(op, self.scope)
        self.produced.append(op.output)

    def _emit_node(self, op: Other) -> None:
        node = op.node
        if op.is_view:
            self._flush()
            self._emit_view(node)
            return
        if is_end(node, self.scope):
            self._flush()
            lower_end(node, self.scope)
            self.produced += node.outputs
            return
        if lower_columns(node, self.scope):
            self.produced += node.outputs
            return
        lowering = LOWERINGS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        calls = lowering(node, self.target) if lowering is not None else None
        if calls is None:
            self._pending.append(node)
            return
        self._flush()
        self.scope.emit(calls)
        self.produced += node.outputs

    def _emit_view(self, node: ir.Node) -> None:
        (source, *_), (value, *_) = node.inputs, node.outputs
        assert source is not None
        if node.op_type == "Transpose":
            rank = len(tensor(value).shape)
            self.scope.transpose(value, source, ints(node, "perm", tuple(reversed(range(rank)))))
        else:
            self.scope.reshape(value, source)

    def _flush(self) -> None:
        """Hand the pending nodes to TVM; neighbours in topological order never enclose another node."""
        if self._pending:
            self.scope.emit(lower_group(self._pending, self.target))
            self.produced += [v for node in self._pending for v in node.outputs if self.scope.is_stored(v)]
            self._pending = []
