"""Recognise activations and LayerNormalization that exporters wrote out in smaller operators."""

from __future__ import annotations

import math
from functools import cache

import onnx_ir as ir
from onnxscript.rewriter import RewriteRule, RewriteRuleSet
from onnxscript.rewriter._ir_utils import is_singleton_value
from onnxscript.rewriter.rules import common as rules

from edgesparse.frontend.norms import fuse_layer_norms
from edgesparse.frontend.transposes import merge_transposes

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
    return bool(is_singleton_value(value, expected, rtol=1e-3))


def _is_gelu(root: float):  # type: ignore[no-untyped-def]
    def check(context, **values: ir.Value) -> bool:  # type: ignore[no-untyped-def]
        return _close(values["root"], root) and _close(values["half"], 0.5) and _close(values["one"], 1.0)

    return check


def _tanh_gelu(op, x, cube, factor, root, one, half):  # type: ignore[no-untyped-def]
    return x * ((op.Tanh((x + op.Pow(x, cube) * factor) * root) + one) * half)


def _tanh_gelu_half_x(op, x, cube, factor, root, one, half):  # type: ignore[no-untyped-def]
    return (x * half) * (op.Tanh((x + op.Pow(x, cube) * factor) * root) + one)


def _gelu_by_tanh(op, **values: ir.Value):  # type: ignore[no-untyped-def]
    return op.Gelu(values["x"], approximate="tanh")


def _is_tanh_gelu(context, **values: ir.Value) -> bool:  # type: ignore[no-untyped-def]
    expected = {"cube": 3.0, "factor": 0.044715, "root": math.sqrt(2 / math.pi), "one": 1.0, "half": 0.5}
    return all(_close(values[name], number) for name, number in expected.items())


def _hardswish(op, x, three, low, high, sixth):  # type: ignore[no-untyped-def]
    return x * (op.Clip(x + three, low, high) * sixth)


def _hardswish_late(op, x, three, low, high, sixth):  # type: ignore[no-untyped-def]
    return (x * op.Clip(x + three, low, high)) * sixth


def _to_hardswish(op, **values: ir.Value):  # type: ignore[no-untyped-def]
    return op.HardSwish(values["x"])


def _is_hardswish(context, **values: ir.Value) -> bool:  # type: ignore[no-untyped-def]
    expected = {"three": 3.0, "low": 0.0, "high": 6.0, "sixth": 1 / 6}
    return all(_close(values[name], number) for name, number in expected.items())


def _guarded_softmax(op, x, zero):  # type: ignore[no-untyped-def]
    softmax = op.Softmax(x, _outputs=["softmax"], _allow_other_attributes=True)
    return op.Where(op.IsNaN(softmax), zero, softmax)


def _unguarded(op, **values: ir.Value):  # type: ignore[no-untyped-def]
    softmax = values["softmax"].producer()
    assert softmax is not None
    return op.Softmax(values["x"], **softmax.attributes)


def _is_product(context, **values: ir.Value) -> bool:  # type: ignore[no-untyped-def]
    producer = values["x"].producer()
    return producer is not None and producer.op_type == "MatMul"


# PyTorch guards attention against rows that are masked throughout. Scores that come straight from a product have no
# mask: only an overflow could make a NaN, and that stays one.
NAN_GUARD = RewriteRule(_guarded_softmax, _unguarded, _is_product)


@cache
def _gelu_rules() -> RewriteRuleSet:
    divided = [_gelu_divided, _gelu_half_erf_divided, _gelu_half_x_divided]
    multiplied = [_gelu_multiplied, _gelu_half_erf_multiplied, _gelu_half_x_multiplied]
    written = [RewriteRule(source, _gelu, _is_gelu(math.sqrt(2))) for source in divided]
    written += [RewriteRule(source, _gelu, _is_gelu(math.sqrt(0.5))) for source in multiplied]
    written += [RewriteRule(source, _gelu_by_tanh, _is_tanh_gelu) for source in (_tanh_gelu, _tanh_gelu_half_x)]
    return RewriteRuleSet(written, commute=True)


@cache
def _hardswish_rules() -> RewriteRuleSet:
    written = [RewriteRule(source, _to_hardswish, _is_hardswish) for source in (_hardswish, _hardswish_late)]
    return RewriteRuleSet(written, commute=True)


def fuse_patterns(model: ir.Model) -> None:
    """Write Gelu, HardSwish, Clip and LayerNormalization as single operators, in place, where the opset has them."""
    opset = model.opset_imports.get("", 0)
    RewriteRuleSet([rules.min_max_rule, rules.max_min_rule]).apply_to_model(model)
    if opset >= HARDSWISH_OPSET:
        rules.fuse_hardswish_rules().apply_to_model(model)
        _hardswish_rules().apply_to_model(model)
    if opset >= LAYERNORM_OPSET:
        fuse_layer_norms(model)
    if opset >= GELU_OPSET:
        _gelu_rules().apply_to_model(model)


def drop_leftovers(model: ir.Model) -> None:
    """Remove what the other passes uncover, in place: transposes of transposes, guards against NaN that cannot be."""
    merge_transposes(model.graph)
    RewriteRuleSet([NAN_GUARD]).apply_to_model(model)
