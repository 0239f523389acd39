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
"""Of NaN all but one are false: what is not less need not be greater or equal."""

_PURE = 1  # CallEffectKind.Pure
_NODES: dict[str, Any] = {f"tirx.exact_{node.__name__.lower()}": node for node in (*ARITHMETIC, *COMPARISONS)}
_NAMES = {node: name for name, node in _NODES.items()}

for _name in _NODES:
    tvm.ir.register_op_attr(_name, "TCallEffectKind", _PURE)
    tvm.ir.register_op_attr(_name, "TVectorizable", True)
    tvm.ir.register_op_attr(_name, "TScriptPrinterName", _name)


def exact(node: Expr) -> Expr:
    """The call that stands for an operator on floats."""
    return Call(Op.get(_NAMES[type(node)]), [node.a, node.b], ret_ty=node.ty)


def plain(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """`func` with the operators that calls stand for; only sums of products, which are one operator, may be fused."""

    def restore(call: Call) -> Expr:
        node = _node(call)
        if node is None:
            return call
        made = node(*call.args)
        return _rounded(made) if isinstance(made, tirx.Mul) else made

    def accumulate(total: tirx.Add) -> Expr:
        return tirx.Add(total.a, tirx.Mul(*total.b.args)) if _node(total.b) is tirx.Mul else total

    body = tvm_ffi.structural_map(func.body, (tirx.Add, accumulate))
    return func.with_body(tvm_ffi.structural_map(body, (Call, restore)))


def _node(value: Expr) -> Any:
    """The operator that a call stands for, or None."""
    return _NODES.get(str(value.op.name)) if isinstance(value, Call) and isinstance(value.op, Op) else None


def _rounded(product: Expr) -> Expr:
    """A product that LLVM does not fuse with the addition behind it."""
    return tirx.call_llvm_pure_intrin(product.ty.dtype, "llvm.arithmetic.fence", product)
