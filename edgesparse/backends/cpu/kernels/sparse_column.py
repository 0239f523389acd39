"""Sparse weight times one vector: a row is summed in chains of its own, which hide the latency of multiply-adds."""

from __future__ import annotations

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.dots import BYTE_BITS, least_lanes, multiply_add
from edgesparse.backends.cpu.kernels.epilogue import Requantized
from edgesparse.backends.cpu.kernels.layer import LayerCall
from edgesparse.backends.cpu.kernels.math import converted, hold
from edgesparse.backends.cpu.kernels.vectors import merge_first
from edgesparse.forms.weight import CHAINS
from edgesparse.numerics import F32, I32, QUAD, element

_ROWS_A_TILE = 16


def kernel(call: LayerCall) -> Kernel:
    """Reads: x, indptr, indices, values, bias[, scale][, residual]; writes: y.

    Shapes: x [K]; bias, scale, residual and y [M]; indptr int32 [M + 1] counts groups of `CHAINS` entries; indices and
        values [entries], each row padded with (0, 0.0).
    Over-read: none. Order: CHAINS interleaved chains of ascending k, summed pairwise.
    """
    _, indices, values, _ = (weight.data for weight in call.weights)
    entries, index, numerics = values.size, element(indices.dtype), call.layer.numerics
    m, k, epilogue, target = call.layer.plane.m, call.layer.plane.k, call.epilogue, call.target
    chains, step = Lanes(CHAINS, numerics.x), Lanes(least_lanes(numerics), numerics.x)

    def body(
        tile: Expr, x: Buffer, indptr: Buffer, indices: Buffer, values: Buffer, bias: Buffer, *rest: Buffer
    ) -> None:
        *others, y = rest
        scale = others.pop(0) if epilogue.is_scaled else None
        # Bound to names: TVM 0.27 forgets the start of the loop over tiles in the bounds of inner loops.
        first = T.bind(tile * _ROWS_A_TILE)
        last = T.bind(T.min(first + _ROWS_A_TILE, m))
        if isinstance(epilogue, Requantized):
            with T.serial(T.shift_right(first, 2), T.shift_right(last + (QUAD - 1), 2)) as quad:
                T.buffer_store(y, T.int32(0), [quad])
        with T.serial(first, last) as row:
            begin = T.bind(indptr[row])
            acc = chains.sums()
            for i in range(CHAINS):
                T.buffer_store(acc, chains.scalar(0.0), [i])
            with T.serial(0, indptr[row + 1] - begin) as j:
                for i in range(0, CHAINS, step.count):
                    entry = (begin + j) * CHAINS + i
                    several = step.load(values, entry), _gathered(x, indices, entry, step)
                    step.store(acc, i, multiply_add(numerics, target.cpu, step.load(acc, i), *several))
            total = bias[row] + ((acc[0] + acc[1]) + (acc[2] + acc[3]))
            result = epilogue.apply(total, others[0][row] if others else None, None if scale is None else scale[row])
            if isinstance(epilogue, Requantized):
                bits = T.bitwise_and(row, QUAD - 1) * BYTE_BITS
                merge_first(y, T.shift_right(row, 2), T.shift_left(epilogue.word([result]), bits), 1)
            else:
                T.buffer_store(y, converted(result, numerics.y.name), [row])

    params = [Param(k, numerics.x), Param(m + 1, I32), Param(entries, index), Param(entries, numerics.w)]
    params += [Param(m, numerics.acc), *([Param(m, F32)] if epilogue.is_scaled else [])]
    params += [Param(-(-m // numerics.y.channels), numerics.y)] * (2 if epilogue.residual else 1)
    symbol = kernel_symbol("vector", numerics, f"sparse_m{m}k{k}", target, entries, index, epilogue)
    return build_kernel(symbol, params, -(-m // _ROWS_A_TILE), body)


def _gathered(x: Buffer, indices: Buffer, entry: Expr, step: Lanes) -> Expr:
    """What x holds at neighbouring indices."""
    found = [x[T.cast(indices[entry + i], "int32")] for i in range(step.count)]
    return found[0] if step.count == 1 else hold(T.Shuffle(found, [T.int32(i) for i in range(step.count)]))
