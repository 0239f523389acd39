"""Checks of what data supply, before a kernel follows it: a value that is not allowed ends the run.

A check writes nothing; it is a step of its own before the step that it protects, of the same layer. It counts first, in
vectors; only where something is wrong it looks for the first wrong element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm.tirx import Buffer, Expr, any, const, isnan
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Param, build_kernel, kernel_symbol, refuse
from edgesparse.program import FaultKind

_TILE = 4096  # rows; more than most arrays of indices have

Limits = tuple[Expr, Expr]


def bounded(values: Param, lowest: Sequence[int], highest: Sequence[int]) -> Kernel:
    """Fail unless the integers of every column lie in [lowest, highest] of that column. Reads: values; writes: nothing.

    Shapes: values [rows, len(lowest)]. Over-read: none. Order: ascending.
    """
    limits = [tuple(const(limit, values.element.name) for limit in pair) for pair in zip(lowest, highest, strict=True)]
    symbol = kernel_symbol("bounded", values.element, f"n{values.size}", None, tuple(lowest), tuple(highest))
    return _check(symbol, values, FaultKind.INTEGER, limits, lambda x, limit: any(x < limit[0], x > limit[1]))


def within(values: Param, lowest: float, highest: float) -> Kernel:
    """Fail unless every float lies in [lowest, highest]; NaN never does. Otherwise as `bounded`."""
    limits = const(lowest, values.element.name), const(highest, values.element.name)
    symbol = kernel_symbol("within", values.element, f"n{values.size}", None, lowest, highest)
    return _check(symbol, values, FaultKind.FLOAT, [limits], lambda x, limit: any(isnan(x), x < limit[0], x > limit[1]))


def nonzero(values: Param) -> Kernel:
    """Fail unless every integer can be divided by. Otherwise as `bounded`."""
    zero = const(0, values.element.name)
    symbol = kernel_symbol("nonzero", values.element, f"n{values.size}", None)
    return _check(symbol, values, FaultKind.DIVISOR, [(zero, zero)], lambda x, _: x == zero)


def _check(
    symbol: str,
    values: Param,
    kind: FaultKind,
    limits: Sequence[Limits],
    wrong: Callable[[Expr, Limits], Expr],
) -> Kernel:
    columns = len(limits)
    rows = values.size // columns

    def body(tile: Expr, x: Buffer, fault: Buffer) -> None:
        begin = T.bind(tile * _TILE)
        end = T.bind(T.min(begin + _TILE, rows))
        found = T.alloc_buffer((1,), "int32", scope="global")
        T.buffer_store(found, const(0, "int32"), [0])
        with T.serial(begin, end) as row:
            for column, limit in enumerate(limits):
                T.buffer_store(found, found[0] | T.cast(wrong(x[row * columns + column], limit), "int32"), [0])
        with T.If(found[0] != 0), T.Then(), T.serial(begin, end) as row:
            for column, limit in enumerate(limits):
                place = row * columns + column
                with T.If(wrong(x[place], limit)), T.Then():
                    refuse(fault, kind, 0, place, x[place], limit)

    return build_kernel(symbol, [values], max(1, -(-rows // _TILE)), body, fails=True)
