"""Arithmetic on data with one result on every target, where TVM and LLVM leave it open.

Integers wrap; minimum / -1 is the minimum; shifts by the width or more leave what an endless shift leaves; floats
become integers by saturation, and NaN becomes 0; maxima and minima of floats hand NaN on; nothing cancels in sums,
products and comparisons of floats (`exact.py`). Arithmetic of loop variables alone stays as it is: TVM reads from it
how memory is walked.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isnan

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Expr, TensorLoad

from edgesparse.backends.cpu.exact import COMPARISONS, exact

_WRAPPED = (tirx.Add, tirx.Sub, tirx.Mul)
_FOLDED = (*_WRAPPED, tirx.Max, tirx.Min)
_DIVIDED = (tirx.Div, tirx.Mod, tirx.FloorDiv, tirx.FloorMod)


def define(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """`func` with defined arithmetic in all that it stores; the fold of a reduction is left to `wrap`."""

    def fix(store: tirx.BufferStore) -> tirx.BufferStore:
        value = store.value
        if isinstance(value, _FOLDED) and isinstance(value.a, TensorLoad) and value.a.source.same_as(store.buffer):
            value = type(value)(value.a, define_value(value.b))
        else:
            value = define_value(value)
        return tirx.BufferStore(store.buffer, value, [_define_index(index) for index in store.indices])

    return func.with_body(tvm_ffi.structural_map(func.body, (tirx.BufferStore, fix)))


def define_value(value: Expr) -> Expr:
    """`value` with defined arithmetic wherever it reads data."""
    loads: dict[tirx.Var, Expr] = {}

    def hide(load: TensorLoad) -> Expr:
        """A name stands for a whole load meanwhile: its indices are no data."""
        variable = tirx.Var("load", load.ty)
        loads[variable] = tirx.BufferLoad(load.source, [_define_index(index) for index in load.indices])
        return variable

    def on_data(rule: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
        return lambda node: rule(node) if _holds(node, tirx.Var, loads.__contains__) else node

    hidden = tvm_ffi.structural_map(value, (TensorLoad, hide), order="pre")
    if not loads:
        return value
    rules = [
        (_WRAPPED, on_data(_combine)),
        (_DIVIDED, on_data(_divide)),
        (COMPARISONS, on_data(_compare)),
        ((tirx.Max, tirx.Min), on_data(_extreme)),
        (tirx.Cast, on_data(_cast)),
        ((tirx.LShift, tirx.RShift), on_data(_shift)),
    ]
    defined = tvm_ffi.structural_map(hidden, rules)
    return tvm_ffi.structural_map(defined, (tirx.Var, lambda variable: loads.get(variable, variable)))


def wrap(value: Expr) -> Expr:
    """A sum, difference or product of integers in twice the bits and cut: TVM tells LLVM that 32 and 64 never overflow.

    LLVM narrows it again, to the one instruction that wraps. Any other expression stays as it is.
    """
    dtype = _dtype(value)
    bits = int(dtype.bits)
    if not isinstance(value, _WRAPPED) or not _is_integer(value) or bits not in (32, 64):
        return value

    lanes = f"x{dtype.lanes}" if int(dtype.lanes) > 1 else ""

    def wide(operand: Expr) -> Expr:
        signed = operand if _is_signed(value) else tirx.Cast(f"int{bits}{lanes}", operand)
        return tirx.Cast(f"int{2 * bits}{lanes}", signed)

    cut = tirx.Cast(f"int{bits}{lanes}", type(value)(wide(value.a), wide(value.b)))
    return cut if _is_signed(value) else tirx.Cast(str(dtype), cut)


def _combine(node: Expr) -> Expr:
    return exact(node) if _is_float(node) else wrap(node)


def divides(statement: tirx.Stmt) -> bool:
    """Whether integers that are data are divided: TVM's simplifier takes twice as long for each nested one."""
    return _holds(statement, _DIVIDED, lambda node: _is_integer(node) and _holds(node, TensorLoad))


def _define_index(index: Expr) -> Expr:
    """An index from data has been checked before; only the value that it is cast from may be anything."""
    return tvm_ffi.structural_map(index, (tirx.Cast, lambda cast: _cast(cast) if _holds(cast, TensorLoad) else cast))


def _divide(node: Expr) -> Expr:
    """Define a division; a divisor of 0, which a check has ruled out, counts as 1."""
    if not _is_integer(node):
        return exact(node) if isinstance(node, tirx.Div) else node
    dtype, b = str(_dtype(node)), node.b
    # Behind bits of another type TVM sees no quotient, whose divisor it would multiply with this one, beyond what the
    # type holds; nor an unsigned number, whose remainder it would take for positive, as behind a cast.
    a = tirx.reinterpret(dtype, tirx.reinterpret(_other_sign(node), node.a))
    if isinstance(b, tirx.IntImm) and int(b) not in (0, -1):
        return type(node)(a, b)
    zero, one = tirx.const(0, dtype), tirx.const(1, dtype)
    minus = b == tirx.const(-1, dtype) if _is_signed(node) else tirx.const(False, "bool")
    divisor = tirx.Select(tirx.Or(b == zero, minus), one, b)
    quotient = tirx.Select(minus, wrap(tirx.Sub(zero, a)), tirx.Div(a, divisor))
    rest = tirx.Mod(a, divisor)
    below = tirx.And(rest != zero, tirx.NE(_byte(rest < zero), _byte(b < zero)))  # truncated upwards
    match node:
        case tirx.Div():
            return quotient
        case tirx.Mod():
            return rest
        case tirx.FloorDiv():
            return tirx.Select(below, wrap(tirx.Sub(quotient, one)), quotient)
        case _:
            return tirx.Select(below, rest + b, rest)


def _compare(node: Expr) -> Expr:
    """TVM 0.27 compares booleans as if they were floats."""
    if _is_bool(node.a):
        return type(node)(_byte(node.a), _byte(node.b))
    return exact(node) if _is_float(node.a) else node


def _extreme(node: Expr) -> Expr:
    a, b = node.a, node.b
    if _is_bool(node):
        return tirx.Cast("bool", type(node)(_byte(a), _byte(b)))
    if not _is_float(node):
        return node
    beats = tirx.GT if isinstance(node, tirx.Max) else tirx.LT
    for number, value in ((b, a), (a, b)):
        if isinstance(number, tirx.FloatImm):
            return number if isnan(number.value) else tirx.Select(beats(number, value), number, value)
    return tirx.Select(tirx.Or(beats(a, b), tirx.isnan(a)), a, b)


def _cast(node: tirx.Cast) -> Expr:
    value = node.value
    if str(_dtype(value)) == "float64" and str(_dtype(node)) == "float16":
        return tirx.Cast("float16", _rounded_to_odd(value))
    if not _is_float(value) or not _is_integer(node):
        return node
    if int(_dtype(value).bits) == 16:
        value = tirx.Cast("float32", value)
    kind = "s" if _is_signed(node) else "u"
    return tirx.call_llvm_pure_intrin(str(_dtype(node)), f"llvm.fpto{kind}i.sat", value)


def _rounded_to_odd(value: Expr) -> Expr:
    """float64 as float32, so that rounding it once more is as good as rounding once; no target needs a library for it.

    Source: Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums".
    """
    near = tirx.Cast("float32", value)
    back, bits = tirx.Cast("float64", near), tirx.reinterpret("int32", near)
    beyond = tirx.Select(value < tirx.const(0.0, "float64"), back < value, back > value)
    cut = tirx.Select(beyond, bits - tirx.const(1, "int32"), bits) | tirx.const(1, "int32")
    return tirx.reinterpret("float32", tirx.Select(tirx.NE(back, value), cut, bits))


def _shift(node: Expr) -> Expr:
    """A negative count shifts by the width."""
    bits, dtype = int(_dtype(node).bits), str(_dtype(node))
    if isinstance(node.b, tirx.IntImm) and 0 <= int(node.b) < bits:
        return node
    zero, inside = tirx.const(0, dtype), node.b < tirx.const(bits, dtype)
    rest = zero
    if _is_signed(node):
        inside = tirx.And(inside, node.b >= zero)
        if isinstance(node, tirx.RShift):
            rest = tirx.Select(node.a < zero, tirx.const(-1, dtype), zero)
    return tirx.Select(inside, type(node)(node.a, tirx.Select(inside, node.b, zero)), rest)


def _byte(value: Expr) -> Expr:
    return tirx.Cast("uint8", value)


def _dtype(value: Expr) -> tvm.DataType:
    return value.ty.dtype


def _is_bool(value: Expr) -> bool:
    return str(_dtype(value)) == "bool"


def _is_signed(value: Expr) -> bool:
    return str(_dtype(value)).startswith("int")


def _is_integer(value: Expr) -> bool:
    return _is_signed(value) or str(_dtype(value)).startswith("uint")


def _other_sign(value: Expr) -> str:
    return ("uint" if _is_signed(value) else "int") + str(int(_dtype(value).bits))


def _is_float(value: Expr) -> bool:
    return str(_dtype(value)).startswith("float")


def _holds(tree: object, kind: type | tuple[type, ...], wanted: Callable[[Expr], bool] = lambda _: True) -> bool:
    def visit(node: Expr) -> object:
        return tvm_ffi.VisitInterrupt(True) if wanted(node) else None

    return tvm_ffi.structural_walk(tree, (kind, visit)) is not None
