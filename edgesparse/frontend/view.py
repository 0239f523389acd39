"""The graph of a model for a CPU: what its kernels compute on integers, and all else in floats."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgesparse.devices.cpu import Cpu
from edgesparse.frontend.fold import add_constant, constant
from edgesparse.graph.ops import Graph, graph_of
from edgesparse.graph.provenance import derived

DEQUANTIZE = "DequantizeLinear"


def view(normal: ir.Model, cpu: Cpu) -> Graph:
    """A model in normal form as ops. Where no kernel of the CPU takes stored integers, constants are dequantized."""
    if not any(node.op_type == DEQUANTIZE for node in normal.graph):
        return graph_of(normal)
    kept = {str(node.name) for node in graph_of(normal, cpu.dotted).on_integers} if cpu.dotted else set()
    return graph_of(_dequantized(normal, kept), cpu.dotted)


def _dequantized(normal: ir.Model, kept: Collection[str]) -> ir.Model:
    """A copy in which constants are the numbers that they stand for, but for what the nodes called `kept` read."""
    model = normal.clone()
    for node in list(model.graph):
        stored = constant(node.inputs[0]) if node.op_type == DEQUANTIZE and node.name not in kept else None
        if stored is None:
            continue
        real = _real(node, stored)
        if real is not None:
            value = add_constant(model.graph, real, f"{node.outputs[0].name}", derived("dequantized", node.inputs[0]))
            node.outputs[0].replace_all_uses_with(value)
            model.graph.remove(node, safe=True)
    return common.RemoveUnusedNodesPass()(model).model


def _real(node: ir.Node, stored: np.ndarray) -> np.ndarray | None:
    """(stored - zero point) * scale in float32; None for scales by blocks or of other types."""
    scale = constant(node.inputs[1])
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1, np.int32)
    if scale is None or zero is None or scale.dtype != np.float32 or node.attributes.get_int("block_size", 0) != 0:
        return None
    along, one = [1] * stored.ndim, [1] * stored.ndim
    if scale.size > 1:
        along[node.attributes.get_int("axis", 1)] = -1
    centred = stored.astype(np.int32) - zero.astype(np.int32).reshape(along if zero.size > 1 else one)
    real: np.ndarray = centred.astype(np.float32) * scale.reshape(along if scale.size > 1 else one)
    return real
