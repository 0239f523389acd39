"""Recognise activations and LayerNormalization that exporters wrote out in smaller operators."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRule, RewriteRuleSet
from onnxscript.rewriter._ir_utils import is_singleton_value

from edgesparse.frontend.canonical import replace
from edgesparse.frontend.fold import add_constant, constant
from edgesparse.frontend.norms import fuse_layer_norms
from edgesparse.frontend.shapes import static_shape

GELU_OPSET = 20
HARDSWISH_OPSET = 14
LAYERNORM_OPSET = 17


def _gelu_divided(op, x, root, half, one):  # type: ignore[no-untyped-def]
    return (x * (op.Erf(x / root) + one)) * half


def _gelu_multiplied(op, x, root, half, one):  # type: ignore[no-untyped-def]
    return (x * (op.Erf(x * root) + one)) * half


def _gelu_half_erf_divided(op, x, root, half, one):  # type: ignore[no-untyped-def]
    return x * ((op.Erf(x / root) + one) * half)


def _gelu_half_erf_multiplied(op, x, root, half, one):  # type: ignore[no-untyped-def]
    return x * ((op.Erf(x * root) + one) * half)


def _gelu_half_x_divided(op, x, root, half, one):  # type: ignore[no-untyped-def]
    return (x * half) * (op.Erf(x / root) + one)


def _gelu_half_x_multiplied(op, x, root, half, one):  # type: ignore[no-untyped-def]
    return (x * half) * (op.Erf(x * root) + one)


def _gelu(op, **values: ir.Value):  # type: ignore[no-untyped-def]
    return op.Gelu(values["x"])


def _close(value: ir.Value, expected: float) -> bool:
    """Whether a constant is `expected`, as its type rounds it or as the formulas of exporters compute it."""
    array = constant(value)
    if array is None:
        return False
    rounding = 4 * float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else 0.0
    return bool(is_singleton_value(value, expected, rtol=rounding))


def _are(values: Mapping[str, ir.Value], **numbers: float) -> bool:
    """Whether each value is its number and has no more dimensions than x, which broadcasting would pass on."""
    rank = len(static_shape(values["x"]) or ())
    fits = (array is not None and array.ndim <= rank for array in (constant(values[name]) for name in numbers))
    return all(fits) and all(_close(values[name], number) for name, number in numbers.items())


def _is_gelu(root: float):  # type: ignore[no-untyped-def]
    def check(context, **values: ir.Value) -> bool:  # type: ignore[no-untyped-def]
        return _are(values, root=root, half=0.5, one=1.0)

    return check


def _tanh_gelu(op, x, cube, factor, root, one, half):  # type: ignore[no-untyped-def]
    return x * ((op.Tanh((x + op.Pow(x, cube) * factor) * root) + one) * half)


def _tanh_gelu_half_x(op, x, cube, factor, root, one, half):  # type: ignore[no-untyped-def]
    return (x * half) * (op.Tanh((x + op.Pow(x, cube) * factor) * root) + one)


def _gelu_by_tanh(op, **values: ir.Value):  # type: ignore[no-untyped-def]
    return op.Gelu(values["x"], approximate="tanh")


def _is_tanh_gelu(context, **values: ir.Value) -> bool:  # type: ignore[no-untyped-def]
    return _are(values, cube=3.0, factor=0.044715, root=math.sqrt(2 / math.pi), one=1.0, half=0.5)


def _hardswish(op, x, three, low, high, sixth):  # type: ignore[no-untyped-def]
    return x * (op.Clip(x + three, low, high) * sixth)


def _hardswish_late(op, x, three, low, high, sixth):  # type: ignore[no-untyped-def]
    return (x * op.Clip(x + three, low, high)) * sixth


def _hardswish_divided(op, x, three, low, high, six):  # type: ignore[no-untyped-def]
    return x * (op.Clip(x + three, low, high) / six)


def _hardswish_late_divided(op, x, three, low, high, six):  # type: ignore[no-untyped-def]
    return (x * op.Clip(x + three, low, high)) / six


def _hardswish_by_sigmoid(op, x):  # type: ignore[no-untyped-def]
    return op.HardSigmoid(x, _allow_other_attributes=True, _outputs=["gate"]) * x


def _is_sigmoid_of_hardswish(context, gate: ir.Value, **values: ir.Value) -> bool:  # type: ignore[no-untyped-def]
    attributes = gate.producer().attributes  # type: ignore[union-attr]
    alpha, beta = attributes.get_float("alpha", 0.2), attributes.get_float("beta", 0.5)
    return math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5


_SIXTHS = {"six": 6.0, "sixth": 1 / 6}


def _to_hardswish(op, **values: ir.Value):  # type: ignore[no-untyped-def]
    return op.HardSwish(values["x"])


def _is_hardswish(context, **values: ir.Value) -> bool:  # type: ignore[no-untyped-def]
    return _are(values, three=3.0, low=0.0, high=6.0, **{name: _SIXTHS[name] for name in _SIXTHS.keys() & values})


@cache
def _families() -> tuple[tuple[int, str, RewriteRuleSet], ...]:
    """The first opset that has what rules write, the rarest operator that they look for, and the rules."""
    divided = [_gelu_divided, _gelu_half_erf_divided, _gelu_half_x_divided]
    multiplied = [_gelu_multiplied, _gelu_half_erf_multiplied, _gelu_half_x_multiplied]
    by_erf = [RewriteRule(source, _gelu, _is_gelu(math.sqrt(2))) for source in divided]
    by_erf += [RewriteRule(source, _gelu, _is_gelu(math.sqrt(0.5))) for source in multiplied]
    by_tanh = [RewriteRule(source, _gelu_by_tanh, _is_tanh_gelu) for source in (_tanh_gelu, _tanh_gelu_half_x)]
    clipped = (_hardswish, _hardswish_late, _hardswish_divided, _hardswish_late_divided)
    by_clip = [RewriteRule(source, _to_hardswish, _is_hardswish) for source in clipped]
    by_sigmoid = [RewriteRule(_hardswish_by_sigmoid, _to_hardswish, _is_sigmoid_of_hardswish)]
    return (
        (HARDSWISH_OPSET, "Clip", RewriteRuleSet(by_clip, commute=True)),
        (HARDSWISH_OPSET, "HardSigmoid", RewriteRuleSet(by_sigmoid, commute=True)),
        (GELU_OPSET, "Erf", RewriteRuleSet(by_erf, commute=True)),
        (GELU_OPSET, "Pow", RewriteRuleSet(by_tanh, commute=True)),
    )


def fuse_patterns(model: ir.Model) -> None:
    """Write Gelu, HardSwish, Clip and LayerNormalization as single operators, in place, where the opset has them."""
    opset = model.opset_imports.get("", 0)
    _fuse_clips(model.graph)
    if opset >= LAYERNORM_OPSET:
        fuse_layer_norms(model)
    for since, operator, rules in _families():
        if opset >= since:
            _apply(rules, model, operator)


def _apply(rules: RewriteRuleSet, model: ir.Model, operator: str) -> None:
    """Apply rules if the model has that operator: otherwise, trying them at every node is slow and in vain."""
    if any(node.op_type == operator for node in model.graph.all_nodes()):
        rules.apply_to_model(model)


def _fuse_clips(graph: ir.Graph) -> None:
    """Max and Min of a value with one number each are a Clip; Min wins where the bounds cross and it comes last."""
    for node in list(graph):
        last = _bound(node)
        first = _bound(last[0].producer()) if last is not None else None
        if last is None or first is None or len(last[0].uses()) != 1 or last[0].is_graph_output():
            continue
        inner = last[0].producer()
        assert inner is not None
        low, high = (first[1], last[1]) if node.op_type == "Min" else (last[1], first[1])
        if inner.op_type == node.op_type or not (node.op_type == "Min" or low <= high):
            continue
        result = node.outputs[0]
        bounds = [add_constant(graph, bound, f"{result.name}_{name}") for name, bound in (("low", low), ("high", high))]
        replace(graph, node, [ir.node("Clip", [first[0], *bounds], name=node.name)])


def _bound(node: ir.Node | None) -> tuple[ir.Value, np.ndarray] | None:
    """The value and the number of a Min or Max of the two, which keeps the shape of the value."""
    if node is None or node.op_type not in ("Min", "Max") or node.domain or len(node.inputs) != 2:
        return None
    for value, other in (node.inputs, node.inputs[::-1]):
        number = constant(other)
        if value is None or number is None or number.size != 1 or np.isnan(number).any() or constant(value) is not None:
            continue
        shape = static_shape(value)
        if shape is not None and shape == static_shape(node.outputs[0]):
            return value, number.reshape(())
    return None
