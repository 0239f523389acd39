"""Sparse weight times one vector: a row is summed in chains of its own, which hide the latency of multiply-adds."""

from __future__ import annotations

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.layer import LayerCall
from edgesparse.forms.weight import CHAINS
from edgesparse.numerics import I32, element

_ROWS_A_TILE = 16


def kernel(call: LayerCall) -> Kernel:
    """Reads: x, indptr, indices, values, bias[, residual]; writes: y.

    Shapes: x [K]; bias, residual and y [M]; indptr int32 [M + 1] counts groups of `CHAINS` entries; indices and values
        [entries], each row padded with (0, 0.0).
    Over-read: none. Order: CHAINS interleaved chains of ascending k, summed pairwise.
    """
    _, indices, values, _ = (weight.data for weight in call.weights)
    entries, index, numerics = values.size, element(indices.dtype), call.layer.numerics
    m, k, epilogue, target = call.layer.plane.m, call.layer.plane.k, call.epilogue, call.target
    single = Lanes(1, numerics.x)

    def body(
        tile: Expr, x: Buffer, indptr: Buffer, indices: Buffer, values: Buffer, bias: Buffer, *rest: Buffer
    ) -> None:
        *residual, y = rest
        # Bound to names: TVM 0.27 forgets the start of the loop over tiles in the bounds of inner loops.
        first = T.bind(tile * _ROWS_A_TILE)
        last = T.bind(T.min(first + _ROWS_A_TILE, m))
        with T.serial(first, last) as row:
            begin = T.bind(indptr[row])
            acc = single.sums(CHAINS)
            for i in range(CHAINS):
                T.buffer_store(acc, single.scalar(0.0), [i])
            with T.serial(0, indptr[row + 1] - begin) as j:
                for i in range(CHAINS):
                    entry = (begin + j) * CHAINS + i
                    T.buffer_store(acc, acc[i] + values[entry] * x[T.cast(indices[entry], "int32")], [i])
            total = bias[row] + ((acc[0] + acc[1]) + (acc[2] + acc[3]))
            T.buffer_store(y, epilogue.apply(total, residual[0][row] if residual else None), [row])

    params = [Param(k, numerics.x), Param(m + 1, I32), Param(entries, index), Param(entries, numerics.w)]
    params += [Param(m, numerics.acc), *[Param(m, numerics.y)] * (2 if epilogue.residual else 1)]
    symbol = kernel_symbol("vector", numerics, f"sparse_m{m}k{k}", target, entries, index, epilogue)
    return build_kernel(symbol, params, -(-m // _ROWS_A_TILE), body)
