"""Operators that work element by element."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from tests.sweeps.case import Node, Operand
from tests.sweeps.operators import Build, Choice, Levels, Operator, words

RANKS = (4, 0, 1, 2, 3, 5)

UNARY: dict[str, dict[str, Levels]] = {
    **{
        name: {}
        for name in words(
            """
            Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Cos Cosh Erf Exp Floor HardSwish Identity IsNaN Log
            Mish Neg Not Reciprocal Relu Round Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh
            """
        )
    },
    "Celu": {"alpha": (None, 0.5)},
    "Elu": {"alpha": (None, 0.3)},
    "Gelu": {"approximate": (None, "none", "tanh")},
    "HardSigmoid": {"alpha": (None, 0.4), "beta": (None, 0.1)},
    "IsInf": {"detect_positive": (None, 0, 1), "detect_negative": (None, 0, 1)},
    "LeakyRelu": {"alpha": (None, 0.3, -0.5)},
    "Selu": {"alpha": (None, 1.2), "gamma": (None, 0.7)},
    "Shrink": {"lambd": (None, 1.0), "bias": (None, 0.5)},
    "Swish": {"alpha": (None, 0.5)},
    "ThresholdedRelu": {"alpha": (None, 0.3)},
}
"""Operators of one tensor, with the levels of their attributes; None: absent."""

BINARY = words(
    """
    Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Mod Mul Or PRelu
    Pow Sub Xor
    """
)

BROADCASTS = ("same", "scalar", "trailing", "ones", "both")


def attributes(choice: Choice, *names: str) -> dict[str, Any]:
    """The levels of attributes that are there."""
    return {name: choice[name] for name in names if choice.get(name) is not None}


def _unary(operator: str) -> Build:
    names = tuple(UNARY[operator])

    def build(c: Choice) -> Node:
        x = c.data()
        if c.dtype.kind == "f" and x.size > 4:
            special = {"IsInf": [np.inf, -np.inf], "IsNaN": [np.nan, np.inf], "Round": [0.5, 1.5, -2.5]}
            values = special.get(operator, [])
            x.reshape(-1)[: len(values)] = values
        return Node([x], attributes(c, *names))

    return build


def _pair(c: Choice, operator: str) -> tuple[np.ndarray, np.ndarray]:
    """Two operands that broadcast as the row says."""
    shape = c.shape()
    left, right = shape, shape
    match c["broadcast"]:
        case "scalar":
            right = ()
        case "trailing":
            right = shape[1:]
        case "ones":
            right = tuple(1 if at % 2 else size for at, size in enumerate(shape))
        case "both":
            left = tuple(1 if at % 2 else size for at, size in enumerate(shape))
            right = tuple(size if at % 2 else 1 for at, size in enumerate(shape))
    positive = operator in ("Div", "Mod", "BitShift") or (operator == "Pow" and c.dtype.kind in "iu")
    exponent = np.dtype(c["exponent"] or c.dtype) if operator == "Pow" else c.dtype
    x = c.data(left, low=0.1 if operator == "Pow" and "f" in c.dtype.kind + exponent.kind else None)
    y = c.data(right, exponent, low=1 if positive else None)
    return x, np.minimum(y, exponent.type(5)) if operator in ("BitShift", "Pow") else y


def _binary(operator: str) -> Build:
    def build(c: Choice) -> Node | None:
        if operator == "PRelu" and c["broadcast"] == "both":
            return None
        x, y = _pair(c, operator)
        return Node([x, y], attributes(c, "fmod", "direction"), frozenset(c["constant"]))

    return build


def _variadic(c: Choice) -> Node | None:
    shapes = [c.shape(), c.shape()[1:], tuple(1 for _ in c.shape()), c.shape()][: c["count"]]
    if c.opset < 8:
        shapes = [c.shape()] * c["count"]
    return Node([c.data(shape) for shape in shapes], {}, frozenset(c["constant"]) if c["count"] > 1 else frozenset())


def _clip(c: Choice) -> Node | None:
    low, high = (2, 5) if c.dtype.kind == "u" else (-1, 3)
    if c.opset < 11:
        return Node([c.data()], _bounds(c["bounds"], float(low), float(high)))
    wanted = _bounds(c["bounds"], low, high)
    bounds: list[Operand] = [np.array(wanted[n], c.dtype) if n in wanted else None for n in ("min", "max")]
    return Node([c.data(), *bounds], {}, frozenset((1, 2)) if c["fixed"] else frozenset())


def _bounds(names: str, low: Any, high: Any) -> dict[str, Any]:
    return {name: value for name, value in (("min", low), ("max", high)) if name in names.split()}


def _where(c: Choice) -> Node:
    x, y = _pair(c, "Where")
    shape = np.broadcast_shapes(x.shape, y.shape)
    return Node([c.data(shape[-c["mask"] :] if c["mask"] else (), np.bool_), x, y], {}, frozenset(c["constant"]))


def _cast(c: Choice) -> Node:
    to = np.dtype(c["to"])
    x = c.data(low=0.2 if to.kind == "u" else None)
    return Node([x], {"to": helper.np_dtype_to_tensor_dtype(to)})


def _cast_like(c: Choice) -> Node:
    to = np.dtype(c["to"])
    return Node([c.data(low=0.2 if to.kind == "u" else None), np.ones(2, to)])


def _bit_cast(c: Choice) -> Node | None:
    to = np.dtype(c["to"])
    return Node([c.data()], {"to": helper.np_dtype_to_tensor_dtype(to)}) if to.itemsize == c.dtype.itemsize else None


_KINDS = ("float32", "float64", "float16", "int8", "int32", "int64", "uint8", "bool")
_CONSTANTS = ((), (1,), (0,))


def _binary_factors(operator: str) -> dict[str, Levels]:
    factors: dict[str, Levels] = {"rank": RANKS, "broadcast": BROADCASTS, "constant": _CONSTANTS}
    if operator == "Mod":
        factors["fmod"] = (None, 0, 1)
    if operator == "BitShift":
        factors["direction"] = ("LEFT", "RIGHT")
    if operator == "Pow":
        factors["exponent"] = (None, "float32", "int64", "int32")
    return factors


OPERATORS = [
    *(Operator(name, {"rank": RANKS, **levels}, _unary(name)) for name, levels in UNARY.items()),
    *(Operator(name, _binary_factors(name), _binary(name)) for name in BINARY),
    *(
        Operator(name, {"rank": RANKS, "count": (2, 1, 3, 4), "constant": _CONSTANTS}, _variadic)
        for name in ("Max", "Mean", "Min", "Sum")
    ),
    Operator("Clip", {"rank": RANKS, "bounds": ("min max", "min", "max", ""), "fixed": (True, False)}, _clip),
    Operator("Where", {"rank": RANKS, "broadcast": BROADCASTS, "mask": (4, 1, 0, 2), "constant": _CONSTANTS}, _where),
    Operator("Cast", {"rank": (4, 0, 1), "to": _KINDS}, _cast),
    Operator("CastLike", {"rank": (4, 0, 1), "to": _KINDS}, _cast_like),
    Operator("BitCast", {"rank": (4, 0, 1), "to": _KINDS}, _bit_cast),
]
