"""Walk a normalised model in order and emit kernel calls: ours for hot operators, TVM's for everything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir

from edgesparse.layers import Layer, layer_of
from edgesparse.lower.attention import fuse_attention, lower_attention
from edgesparse.lower.columns import lower_columns
from edgesparse.lower.fallback import lower_group
from edgesparse.lower.fuse import fuse
from edgesparse.lower.joining import join
from edgesparse.lower.kernel import Call, Tensor
from edgesparse.lower.kernels import matmul, norm, pool, softmax
from edgesparse.lower.kernels.copy import copy_constant
from edgesparse.lower.nodes import constant, ints, tensor
from edgesparse.lower.planned import Convolved, Planned
from edgesparse.lower.scope import Scope
from edgesparse.lower.tiling import tiled_values
from edgesparse.lower.weighted import depthwise_window, lower_depthwise, lower_layer
from edgesparse.plan import LayerPlan
from edgesparse.targets import Target

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

VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that only name the axes of the same elements anew."""


@dataclass(frozen=True)
class Lowered:
    """A model as calls on named tensors."""

    calls: tuple[Call, ...]
    inputs: dict[str, Tensor]  # by ONNX name
    outputs: dict[str, Tensor]


def lower_graph(
    model: ir.Model,
    target: Target,
    plans: Mapping[str, LayerPlan],
    *,
    expose: bool = False,
    keep_tiles: bool = True,
    join_layers: bool = True,
    progress: Callable[[float], None] = lambda share: None,
) -> Lowered:
    """Lower every node of a normalised model.

    Args:
        plans: the plan of each weighted layer, by node name.
        expose: also make an output of every value that exists at run time, to compare layer by layer.
        keep_tiles: let values stay in tiles between layers that cut them alike; exposed ones do not.
        join_layers: let layers that hand large values to a depthwise convolution run in one kernel with it; those
            that are exposed do not.
        progress: called with the share of the nodes that are lowered.

    Raises: LowerError: an operator has no lowering.
    """
    walk = _Walk(model, target, plans, keep_tiles=keep_tiles and not expose, join_layers=join_layers and not expose)
    walk.run(progress)
    scope = walk.scope
    outputs: dict[str, Tensor] = {}
    wanted = list(model.graph.outputs)
    if expose:
        wanted += [value for value in walk.produced if value not in set(wanted)]
    for value in wanted:
        outputs[str(value.name)] = _output(value, scope)
    inputs = {str(v.name): tensor(v) for v in model.graph.inputs}
    return Lowered(tuple(scope.calls), inputs, outputs)


def _output(value: ir.Value, scope: Scope) -> Tensor:
    array = constant(value)
    if array is not None:
        written = tensor(value)
        if not scope.is_written(written):
            scope.emit([copy_constant(written, np.ascontiguousarray(array), scope.target)])
        return written
    stored = scope.rows(value)
    assert isinstance(stored, Tensor)
    return stored


class _Walk:
    def __init__(
        self,
        model: ir.Model,
        target: Target,
        plans: Mapping[str, LayerPlan],
        *,
        keep_tiles: bool,
        join_layers: bool,
    ) -> None:
        self.nodes = list(model.graph)
        self.target = target
        self.plans = plans
        self.keep_tiles = keep_tiles
        self.join_layers = join_layers
        self.scope = Scope(model.graph.inputs, target)
        self.produced: list[ir.Value] = []  # values that calls wrote, in order
        self._pending: list[ir.Node] = []  # neighbours for TVM to fuse
        # What emits each layer or attention with all it absorbed, and what it computes, by its last node.
        self._fusions: dict[ir.Node, tuple[Callable[[Scope], None], ir.Value]] = {}
        self._planned: list[Planned] = []
        self._convolved: dict[ir.Node, Convolved] = {}
        self._taken: set[ir.Node] = set()

    def run(self, progress: Callable[[float], None]) -> None:
        for node in self.nodes:
            self._fuse(node)
        planned = self._planned
        if self.join_layers:
            planned = [join(each, self._convolved, self.target) for each in planned]
        tiled = tiled_values(planned, self.target) if self.keep_tiles else frozenset()
        for each in planned:
            self._take(each.nodes, partial(lower_layer, each, tiled), each.output)
        joined = {each.joined for each in planned}
        for convolved in self._convolved.values():
            if convolved not in joined:
                self._take(convolved.fusion.nodes, partial(lower_depthwise, convolved), convolved.fusion.output)
        for done, node in enumerate(self.nodes):
            progress(done / len(self.nodes))
            if node in self._fusions:
                self._flush()
                emit, value = self._fusions[node]
                emit(self.scope)
                self.produced.append(value)
            elif node not in self._taken and not self._is_empty(node):
                self._emit_node(node)
        self._flush()

    def _fuse(self, node: ir.Node) -> None:
        """Let a weighted layer or an attention absorb its neighbours, and remember where its calls go."""
        if node in self._taken:
            return
        layer = layer_of(node) or depthwise_window(node)
        if layer is None:
            attention = fuse_attention(node, self._taken)
            if attention is not None:
                self._take(attention.nodes, partial(lower_attention, attention), attention.output)
            return
        # Channels are the last axis of a linear layer and the second of a convolution.
        is_linear = isinstance(layer, Layer) and layer.is_linear
        axis = -1 if is_linear else 1 - len(tensor(node.outputs[0]).shape)
        fusion = fuse(node, axis, self._taken)
        if fusion is None:
            return
        self._taken.update(fusion.nodes)
        if isinstance(layer, Layer):
            self._planned.append(Planned(layer, self.plans[layer.name], fusion))
        else:
            self._convolved[node] = Convolved(layer, fusion)

    def _take(self, nodes: Sequence[ir.Node], emit: Callable[[Scope], None], output: ir.Value) -> None:
        self._taken.update(nodes)
        self._fusions[nodes[-1]] = emit, output

    def _emit_node(self, node: ir.Node) -> None:
        if self._is_view(node):
            self._flush()
            self._emit_view(node)
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

    @staticmethod
    def _is_view(node: ir.Node) -> bool:
        return node.op_type in VIEWS and node.domain in ("", "ai.onnx") and constant(node.inputs[0]) is None

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

    @staticmethod
    def _is_empty(node: ir.Node) -> bool:
        return all(tensor(v).size == 0 for v in node.outputs if v.name)
