"""The graph of a model for a CPU: what its kernels compute on integers, and all else in floats."""

from __future__ import annotations

import onnx_ir as ir

from edgesparse.devices.cpu import Cpu
from edgesparse.frontend.fold import constant, fold_constants
from edgesparse.frontend.quantization import is_dequantizing
from edgesparse.graph.ops import Graph, graph_of


def view(normal: ir.Model, cpu: Cpu) -> Graph:
    """A model in normal form as ops. Where no kernel of the CPU takes stored integers, constants are dequantized."""
    graph = graph_of(normal, cpu.dotted)
    stored = [node for node in normal.graph if is_dequantizing(node) and constant(node.inputs[0]) is not None]
    kept = {node.name for node in graph.on_integers}
    if all(node.name in kept for node in stored):
        return graph
    model = normal.clone()
    fold_constants(model, lambda node: node.name in kept)
    return graph_of(model, cpu.dotted)
