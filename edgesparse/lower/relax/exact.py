"""Arithmetic of floats as it is written: TVM's simplifier takes them for real numbers, and cancels (a + b) - b.

From where a kernel is defined to where code is generated, an operator on floats is a call of which TVM knows nothing
but that it is pure and that vectors may go through it.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, Op

ARITHMETIC = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div)
COMPARISONS = (tirx.EQ, tirx.NE, tirx.LT, tirx.LE, tirx.GT, tirx.GE)
"""Of NaN all but one are false: what is not less need not be greater or equal."""

_PURE = 1  # CallEffectKind.Pure
_NODES: dict[str, type] = {f"tirx.exact_{node.__name__.lower()}": node for node in (*ARITHMETIC, *COMPARISONS)}
_NAMES = {node: name for name, node in _NODES.items()}

for _name in _NODES:
    tvm.ir.register_op_attr(_name, "TCallEffectKind", _PURE)
    tvm.ir.register_op_attr(_name, "TVectorizable", True)
    tvm.ir.register_op_attr(_name, "TScriptPrinterName", _name)


def exact(node: Expr) -> Expr:
    """The call that stands for an operator on floats."""
    return Call(Op.get(_NAMES[type(node)]), [node.a, node.b], ret_ty=node.ty)


def plain(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """`func` with the operators that calls stand for."""

    def restore(call: Call) -> Expr:
        node = _NODES.get(str(call.op.name)) if isinstance(call.op, Op) else None
        return call if node is None else node(*call.args)

    return func.with_body(tvm_ffi.structural_map(func.body, (Call, restore)))
