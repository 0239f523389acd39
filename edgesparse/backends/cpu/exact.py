"""Arithmetic of floats as it is written: TVM's simplifier takes them for real numbers, and cancels (a + b) - b.

From where a kernel is defined to where code is generated, an operator on floats is a call of which TVM knows nothing
but that it is pure and that vectors may go through it.
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, Op

ARITHMETIC = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div)
COMPARISONS = (tirx.EQ, tirx.NE, tirx.LT, tirx.LE, tirx.GT, tirx.GE)
"""With a NaN operand all but NE are false: what is not less need not be greater or equal."""

_PURE = 1  # CallEffectKind.Pure
_NODES: dict[str, Any] = {f"tirx.exact_{node.__name__.lower()}": node for node in (*ARITHMETIC, *COMPARISONS)}
_NAMES = {node: name for name, node in _NODES.items()}

for _name in _NODES:
    tvm.ir.register_op_attr(_name, "TCallEffectKind", _PURE)
    tvm.ir.register_op_attr(_name, "TVectorizable", True)
    tvm.ir.register_op_attr(_name, "TScriptPrinterName", _name)


def exact(node: Expr) -> Expr:
    """The call that stands for an operator on floats; what TVM simplified away, as times one, stands for itself."""
    if type(node) not in _NAMES:
        return node
    return Call(Op.get(_NAMES[type(node)]), [node.a, node.b], ret_ty=node.ty)


def plain(func: tirx.PrimFunc, fused: bool) -> tirx.PrimFunc:
    """`func` with the operators that calls stand for; only sums of products, which are one operator, may be fused.

    `fused` says whether the processor multiplies and adds in one instruction: LLVM fuses whatever it can then.
    """
    begin = next(param for param in func.params if param.name == "begin")

    def restore(call: Call) -> Expr:
        node = _node(call)
        if node is None:
            return call
        return _rounded(begin, *call.args) if node is tirx.Mul and fused else node(*call.args)

    def accumulate(total: tirx.Add) -> Expr:
        return tirx.Add(total.a, tirx.Mul(*total.b.args)) if _node(total.b) is tirx.Mul else total

    body = tvm_ffi.structural_map(func.body, (tirx.Add, accumulate))
    return func.with_body(tvm_ffi.structural_map(body, (Call, restore)))


def _node(value: Expr) -> Any:
    """The operator that a call stands for, or None."""
    return _NODES.get(str(value.op.name)) if isinstance(value, Call) and isinstance(value.op, Op) else None


def _rounded(begin: tirx.Var, a: Expr, b: Expr) -> Expr:
    """a * b that LLVM does not fuse with the addition behind it: fused already, with a zero that changes no product.

    Minus zero is what changes none, and LLVM takes the constant away; it does not know that no tile is before 0.
    An arithmetic fence keeps LLVM from making vectors of the loop, `llvm.canonicalize` ends it on x86.
    """
    dtype = a.ty.dtype
    if dtype.bits < 32:
        return tirx.call_llvm_pure_intrin(str(dtype), "llvm.arithmetic.fence", a * b)
    integer = f"int{dtype.bits}"
    zero = tirx.reinterpret(f"float{dtype.bits}", (begin >> 31).astype(integer) | tirx.min_value(integer))
    if dtype.lanes > 1:
        zero = tirx.Broadcast(zero, dtype.lanes)
    return tirx.call_llvm_pure_intrin(str(dtype), "llvm.fma", a, b, zero)
