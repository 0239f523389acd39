"""Checks of what data supply, before a kernel follows it: a value that is not allowed ends the run.

A check writes nothing; it is a step of its own before the step that it protects, of the same layer.
"""

from __future__ import annotations

from tvm.tirx import Buffer, Expr, any, const
from tvm.tirx.script import builder as T

from edgesparse.lower.kernel import Kernel, Param, build_kernel, kernel_symbol, refuse
from edgesparse.program import FaultKind

_TILE = 4096  # elements; more than most arrays of indices have


def bounded(values: Param, lowest: int, highest: int) -> Kernel:
    """Fail unless every integer of an array is in [lowest, highest]. Reads: values; writes: nothing.

    Over-read: none. Order: ascending.
    """

    def body(tile: Expr, x: Buffer, fault: Buffer) -> None:
        begin = T.bind(tile * _TILE)
        limits = const(lowest, values.dtype), const(highest, values.dtype)
        end = T.bind(T.min(begin + _TILE, values.size))
        with T.serial(begin, end) as i, T.If(any(x[i] < limits[0], x[i] > limits[1])), T.Then():
            refuse(fault, FaultKind.INTEGER, 0, i, x[i], limits)

    symbol = kernel_symbol("bounded", values.dtype, values.size, lowest, highest)
    return build_kernel(symbol, [values], max(1, -(-values.size // _TILE)), body, fails=True)
