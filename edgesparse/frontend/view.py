"""The graph of a model for a CPU: what its kernels compute on integers and in 16 bits, and all else in float32."""

from __future__ import annotations

import onnx_ir as ir

from edgesparse.devices.cpu import Cpu
from edgesparse.frontend.fold import constant, fold_constants
from edgesparse.frontend.quantization import is_dequantizing
from edgesparse.graph.ops import Graph, graph_of
from edgesparse.numerics import F16, Element
from edgesparse.quantize import halved, widened


def view(normal: ir.Model, cpu: Cpu, dtype: Element | None = None) -> Graph:
    """A model in normal form as ops. Where no kernel of the CPU takes stored integers, constants are dequantized.

    Args:
        dtype: what layers are to be computed with where the CPU has it; None where that is the type they have.

    Raises: FrontendError: a weight does not fit `dtype`.
    """
    wide = widened(normal)
    is_half = wide is not normal if dtype is None else dtype == F16
    normal = halved(wide) if is_half and cpu.has_half else wide
    graph = graph_of(normal, cpu.dotted)
    stored = [node for node in normal.graph if is_dequantizing(node) and constant(node.inputs[0]) is not None]
    kept = {node.name for node in graph.on_integers}
    if all(node.name in kept for node in stored):
        return graph
    model = normal.clone()
    fold_constants(model, lambda node: node.name in kept)
    return graph_of(model, cpu.dotted)
