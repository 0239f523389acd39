"""Operators between linear layers that work on [F, N] as well, so that nothing is transposed around them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgesparse.backends.cpu.kernel import Call
from edgesparse.backends.cpu.kernels.norm_columns import layer_norm_columns
from edgesparse.backends.cpu.scope import Scope
from edgesparse.backends.cpu.tensors import constant, tensor
from edgesparse.numerics import TAKEN
from edgesparse.program import Constant


def lower_columns(node: ir.Node, scope: Scope) -> bool:
    """Emit a LayerNormalization over the last axis of a value that is stored as [F, N]; says whether it did."""
    if node.op_type != "LayerNormalization" or node.domain not in ("", "ai.onnx"):
        return False
    x, scale = node.inputs[0], constant(node.inputs[1])
    shift = node.inputs[2] if len(node.inputs) > 2 else None
    bias = constant(shift)
    used = [v for v in node.outputs if v.uses() or v.is_graph_output()]
    if x is None or scale is None or tensor(x).element not in TAKEN or used != [node.outputs[0]]:
        return False
    if shift is not None and bias is None:  # only a run knows it
        return False
    whole = tensor(x)
    f = whole.shape[-1]
    n = whole.size // max(f, 1)
    last = node.attributes.get_int("axis", -1) in (-1, len(whole.shape) - 1)
    if not last or min(n, f) < 2 or not scope.holds_columns(x):
        return False
    kernel = layer_norm_columns(f, n, node.attributes.get_float("epsilon", 1e-5), whole.element, scope.target)
    reads = (scope.columns(x), Constant(scale), Constant(np.zeros(f, scale.dtype) if bias is None else bias))
    scope.emit_stored(Call(str(node.name), node.op_type, kernel, reads, (scope.write_columns(node.outputs[0]),)))
    return True
