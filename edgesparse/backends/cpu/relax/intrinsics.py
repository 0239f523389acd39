"""Elementary functions inline: no kernel calls a mathematical library for the common ones.

float32 exp, log, tanh, erf and sigmoid become arithmetic that vectorises; powers with a small constant exponent
become products and roots. Everything else (sin, float64 exp, ...) is resolved from libm by the linker.
"""

from __future__ import annotations

from collections.abc import Callable

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr

from edgesparse.backends.cpu.kernels import math

_INLINE: dict[str, Callable[[Expr], Expr]] = {
    "exp": math.exp,
    "log": math.log,
    "tanh": math.tanh,
    "erf": math.erf,
    "sigmoid": math.sigmoid,
}
_LIBRARY = {("atanh", "float32"): "atanhf", ("atanh", "float64"): "atanh", ("tanh", "float64"): "tanh"}
"""Functions of libm in place of TVM's formulas, which are 0 near 0, by function and type."""

_GUARD = "if_then_else"


def inline_math(value: Expr) -> Expr:
    """`value` with float32 functions written out at the current place of the kernel under construction."""
    return tvm_ffi.structural_map(tvm_ffi.structural_map(value, (Call, _guard)), [(Call, _inline)])


def operator(call: Call) -> str:
    """The function without its dialect, "exp" for tirx.exp; empty where the call is of no operator."""
    return str(call.op.name).rpartition(".")[2] if isinstance(call.op, tvm.ir.Op) else ""


def is_inline(call: Call) -> bool:
    """Whether `inline_math` writes out the function."""
    return operator(call) in _INLINE and str(call.ty.dtype).startswith("float32")


def is_elementary(value: Expr) -> bool:
    """Whether `value` holds functions that `inline_math` writes out."""

    def visit(call: Call) -> object:
        return tvm_ffi.VisitInterrupt(True) if is_inline(call) else None

    return tvm_ffi.structural_walk(value, (Call, visit)) is not None


def _inline(call: Call) -> Expr:
    name = operator(call)
    if name == "pow":
        return _power(call)
    if is_inline(call):
        return _INLINE[name](call.args[0])
    if (name, call.ty.dtype) in _LIBRARY:
        return tirx.call_pure_extern(call.ty.dtype, _LIBRARY[name, call.ty.dtype], call.args[0])
    return call


def _guard(call: Call) -> Expr:
    """Push the condition of `if_then_else(c, f(x[i]), y)` into f's argument: f is computed before the choice."""
    if operator(call) != _GUARD:
        return call
    condition, then, other = call.args

    def guarded(condition: Expr) -> Callable[[Call], Expr]:
        def wrap(inner: Call) -> Expr:
            if not is_inline(inner):
                return inner
            zero = tirx.const(0.0, inner.args[0].ty.dtype)
            return Call(inner.op, [tirx.if_then_else(condition, inner.args[0], zero)], ret_ty=inner.ty)

        return wrap

    then = tvm_ffi.structural_map(then, (Call, guarded(condition)))
    other = tvm_ffi.structural_map(other, (Call, guarded(tirx.Not(condition))))
    return tirx.if_then_else(condition, then, other)


def _power(call: Call) -> Expr:
    base, exponent = call.args
    if not isinstance(exponent, tirx.FloatImm):
        return call
    match float(exponent.value):
        case 0.5:
            return tirx.sqrt(base)
        case 1.0:
            return base
        case 2.0:
            return base * base
        case 3.0:
            return base * base * base
        case _:
            return call
