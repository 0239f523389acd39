"""Operators on single elements, of one operand or of several that broadcast."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.fuzz.graph import DTYPES, Graph, Untamed, Value
from tests.fuzz.rules.registry import rule

DOMAINS = {
    "Acos": (-0.9, 0.9),
    "Acosh": (1.1, 4.0),
    "Asin": (-0.9, 0.9),
    "Atanh": (-0.9, 0.9),
    "Log": (0.1, 8.0),
    "Reciprocal": (0.2, 4.0),
    "Sqrt": (0.1, 8.0),
    "Tan": (-1.2, 1.2),
}
WILD = (np.inf, -np.inf, np.nan, 0.0, -0.0, 1e20, -1e20, 3e9, -3e9)


@rule(
    "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor HardSwish Identity IsNaN Log Mish Neg Not "
    "Reciprocal Relu Round Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh BitwiseNot",
    "elementwise",
)
def unary(g: Graph, op: str, dtype: str) -> None:
    g.apply(op, g.operand(dtype, within=DOMAINS.get(op)))


@rule("Celu Elu LeakyRelu ThresholdedRelu Selu HardSigmoid Gelu Swish Shrink IsInf", "elementwise")
def tuned(g: Graph, op: str, dtype: str) -> None:
    numbers = {
        "Celu": ("alpha",),
        "Elu": ("alpha",),
        "LeakyRelu": ("alpha",),
        "ThresholdedRelu": ("alpha",),
        "Selu": ("alpha", "gamma"),
        "HardSigmoid": ("alpha", "beta"),
        "Swish": ("alpha",),
        "Shrink": ("lambd", "bias"),
    }.get(op, ())
    attributes: dict[str, object] = {name: float(g.rng.uniform(0.1, 1.5)) for name in numbers if g.chance(0.5)}
    if op == "Gelu" and g.chance(0.5):
        attributes["approximate"] = g.choose(["tanh", "none"])
    if op == "IsInf":
        attributes = {name: int(g.chance(0.5)) for name in ("detect_negative", "detect_positive") if g.chance(0.5)}
    is_new = op == "IsInf" and g.chance(0.5)
    x = wild(g, dtype) if is_new else g.operand(dtype, fits=_back_from_float32 if op == "Shrink" else _any)
    g.apply(op, x, **attributes)


def _any(value: Value) -> bool:
    return True


def _back_from_float32(value: Value) -> bool:
    """Whether an integer has room for what shrinking it through float32 gives: else the processor says what it is."""
    return value.dtype.startswith("float") or bool((np.abs(value.array.astype(np.float64)) < 2.0**23).all())


def wild(g: Graph, dtype: str) -> Value:
    """A new input with infinities, NaN, zeros of both signs and numbers that integers do not hold; or a tame one."""
    array = g.array(dtype, g.shape())
    if array.dtype.kind == "f" and array.size and g.chance(0.5):
        with np.errstate(over="ignore"):
            flat = array.reshape(-1)
            for number in g.rng.choice(WILD, 3):
                flat[int(g.rng.integers(flat.size))] = number
    return g.input(array)


def beside(g: Graph, value: Value, *, one_way: bool = False) -> tuple[int, ...]:
    """A shape that broadcasts with that of a value: smaller, or larger in places, or of another rank."""
    shape = [1 if g.chance(0.3) else size for size in value.shape]
    if not one_way:
        shape = [g.size() if old == 1 and g.chance(0.3) else size for old, size in zip(value.shape, shape, strict=True)]
    if g.chance(0.3):
        shape = shape[int(g.rng.integers(len(shape) + 1)) :]
    elif not one_way and len(shape) < 5 and g.chance(0.15):
        shape = [g.choose([1, 1, 2]), *shape]
    return tuple(value.shape) if g.chance(0.3) else tuple(shape)


def divisor(g: Graph, dtype: str, shape: tuple[int, ...]) -> Value:
    """Numbers that are not zero; integers that data supply get a twin with a zero."""
    array = g.array(dtype, shape, (1, 6))
    if array.dtype.kind in "if" and array.size:
        array *= g.rng.choice(np.array([-1, 1], array.dtype), array.shape)
    if g.chance(0.5):
        return g.constant(array)
    value = g.input(array)
    if array.dtype.kind in "iu" and array.size:
        bad = array.copy()
        bad.reshape(-1)[int(g.rng.integers(bad.size))] = 0
        g.twins.append((value.name, bad))
    return value


@rule("Add Sub Mul Div And Or Xor BitwiseAnd BitwiseOr BitwiseXor", "elementwise")
@rule("Equal Greater GreaterOrEqual Less LessOrEqual", "elementwise")
def binary(g: Graph, op: str, dtype: str) -> None:
    a = g.operand(dtype)
    shape = beside(g, a)
    if op == "Div":
        g.apply(op, a, divisor(g, dtype, shape))
        return
    b = a if g.chance(0.05) else g.operand(dtype, shape)
    g.apply(op, *((b, a) if g.chance(0.3) else (a, b)))


@rule("Max Min Mean Sum", "elementwise")
def variadic(g: Graph, op: str, dtype: str) -> None:
    a = wild(g, dtype) if op in ("Max", "Min") and g.chance(0.2) else g.operand(dtype)
    g.apply(op, a, *(g.operand(dtype, beside(g, a)) for _ in range(int(g.rng.integers(0, 4)))))


@rule("Mod", "elementwise")
def remainder(g: Graph, op: str, dtype: str) -> None:
    a = g.operand(dtype)
    is_float = np.dtype(dtype).kind == "f"
    g.apply(op, a, divisor(g, dtype, beside(g, a)), fmod=1 if is_float or g.chance(0.4) else None)


@rule("Pow", "elementwise")
def power(g: Graph, op: str, dtype: str) -> None:
    other = dtype if g.opset < 12 or g.chance(0.5) else g.choose(["float32", "int32", "int64"])
    if np.dtype(dtype).kind == "f" and g.chance(0.5):
        base = g.operand(dtype, within=(0.1, 4.0))
        exponent = g.operand(other, beside(g, base), within=(-2.0, 2.0) if other[0] == "f" else (-2, 3))
    else:
        base = g.operand(dtype, within=None if np.dtype(dtype).kind == "f" else (-5, 7))
        exponent = g.constant(g.choose([2, 3, 0, 1]), other) if g.chance(0.6) else g.new(other, beside(g, base), (0, 4))
        exponent.array[...] = np.round(exponent.array)
    g.apply(op, base, exponent)


@rule("BitShift", "elementwise")
def shift(g: Graph, op: str, dtype: str) -> None:
    a = g.operand(dtype)
    width = np.dtype(dtype).itemsize * 8
    amount = g.new(dtype, beside(g, a), (0, width + 3 if g.chance(0.4) else width))
    made = g.apply(op, a, amount, direction=g.choose(["LEFT", "RIGHT"]))
    if (amount.array >= width).any():  # a shift by the width or more leaves the sign of what is shifted to the right
        left = g.nodes[-1].attribute[0].s == b"LEFT"
        within = np.minimum(amount.array, width - 1)
        shifted = np.left_shift(a.array, within) if left else np.right_shift(a.array, within)
        rest = 0 if left else np.where(a.array < 0, -1, 0)
        g.truths[made[0].name] = np.where(amount.array >= width, rest, shifted).astype(dtype)


@rule("PRelu", "elementwise")
def sloped(g: Graph, op: str, dtype: str) -> None:
    a = g.operand(dtype)
    g.apply(op, a, g.new(dtype, beside(g, a, one_way=True)))


@rule("Where", "elementwise")
def where(g: Graph, op: str, dtype: str) -> None:
    a = g.operand(dtype)
    g.apply(op, g.operand("bool", beside(g, a)), a, g.operand(dtype, beside(g, a)))


@rule("Clip", "elementwise")
def clip(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype)
    kind = np.dtype(dtype).kind
    bounds = [np.array(b, dtype) for b in ((0.0, 6.0) if kind == "f" and g.chance(0.4) else (1, 3))]
    present = [g.chance(0.8), g.chance(0.8)]
    if g.opset < 11:
        g.apply(op, x, **{n: float(b) for n, b, p in zip(("min", "max"), bounds, present, strict=True) if p})
        return
    limits = [g.constant(b) if g.chance(0.7) else g.input(b) for b in bounds]
    g.apply(op, x, *(limit if there else None for limit, there in zip(limits, present, strict=True)))


@rule("Cast", "elementwise")
def cast(g: Graph, op: str, dtype: str) -> None:
    to = g.choose(DTYPES)
    x = wild(g, dtype) if np.dtype(dtype).kind == "f" and g.chance(0.3) else g.operand(dtype)
    made = g.apply(op, x, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))
    settle_cast(g, x, made[0])


@rule("CastLike", "elementwise")
def cast_like(g: Graph, op: str, dtype: str) -> None:
    x = wild(g, dtype) if np.dtype(dtype).kind == "f" and g.chance(0.3) else g.operand(dtype)
    made = g.apply(op, x, g.new(g.choose(DTYPES), g.shape(1)))
    settle_cast(g, x, made[0])


def settle_cast(g: Graph, x: Value, made: Value) -> None:
    """Floats that an integer type does not hold saturate, and NaN is 0; ONNX leaves that open."""
    if x.array.dtype.kind != "f" or made.array.dtype.kind not in "iu":
        return
    limits = np.iinfo(made.array.dtype)
    x64 = np.nan_to_num(x.array.astype(np.float64), nan=0.0, posinf=1e300, neginf=-1e300)
    whole = np.trunc(x64)
    outside = ~((whole >= float(limits.min)) & (whole < float(limits.max) + (limits.bits <= 32)))
    if outside.any():
        right = np.where(outside, 0.0, whole).astype(made.array.dtype)
        right[outside & (x64 < 0)] = limits.min
        right[outside & (x64 > 0)] = limits.max
        g.truths[made.name] = right


@rule("BitCast", "elementwise")
def bit_cast(g: Graph, op: str, dtype: str) -> None:
    same = [name for name in DTYPES if np.dtype(name).itemsize == np.dtype(dtype).itemsize and name != "bool"]
    to = g.choose([name for name in same if name[0] != "f"] or same)
    g.apply(op, g.operand(dtype), to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))


@rule("Dropout", "elementwise")
def dropout(g: Graph, op: str, dtype: str) -> None:
    x, outputs = g.operand(dtype), 2 if g.chance(0.3) else 1
    if g.opset < 12:
        g.apply(op, x, outputs=outputs, ratio=0.3 if g.chance(0.5) else None)
        return
    ratio = g.parameter(0.3, "float32") if g.chance(0.5) else None
    g.apply(op, x, ratio, g.parameter(False) if g.chance(0.3) else None, outputs=outputs)


def require(condition: bool, why: str) -> None:
    """End a draw that leads nowhere."""
    if not condition:
        raise Untamed(why)
