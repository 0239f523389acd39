"""Weight times one vector: y[M] = w[M, K] @ x[K], for classifier heads and batch-1 perceptrons.

With a single column there are no lanes over N. The dense form puts lanes over M; the sparse form sums each
row in `_CHAINS` independent chains, which hides the latency of the multiply-add.
"""

from __future__ import annotations

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.lower.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.lower.kernels.epilogue import Epilogue
from edgesparse.numerics import I32, Element, Numerics
from edgesparse.targets import Target

CHAINS = 4  # nonzeros of a sparse row summed side by side; rows are padded to a multiple of it
_ROWS_A_TILE = 16


def panel_rows(m: int, lanes: int) -> int:
    """Rows that one tile of the dense form computes: a few registers of them."""
    return lanes * min(4, -(-m // lanes))


def vector_dense(m: int, k: int, numerics: Numerics, epilogue: Epilogue, target: Target) -> Kernel:
    """Dense form. Reads: x, panels, bias[, residual]; writes: y.

    Shapes: x [K]; panels [panels, K, panel_rows]; bias, residual and y [M]. A tile is one panel.
    Over-read: bias and residual, below 256 bytes. Order: ascending k.
    """
    lanes = Lanes(target.lanes(numerics.x), numerics.x)
    rows = panel_rows(m, lanes.count)
    panels = -(-m // rows)

    def body(panel: Expr, x: Buffer, w: Buffer, bias: Buffer, *rest: Buffer) -> None:
        *residual, y, area = rest
        acc = lanes.sums(rows)
        steps = range(0, rows, lanes.count)
        for i in steps:
            lanes.store(acc, i, lanes.load(bias, panel * rows + i))
        with T.serial(0, k) as j:
            value = T.bind(lanes.splat(x[j]))
            for i in steps:
                lanes.store(acc, i, lanes.load(acc, i) + value * lanes.load(w, (panel * k + j) * rows + i))
        results = []
        for i in steps:
            other = lanes.load(residual[0], panel * rows + i) if residual else None
            results.append(T.bind(epilogue.apply(lanes.load(acc, i), other)))

        def store(count: int) -> None:
            for i, result in zip(steps, results, strict=True):
                if i + lanes.count <= count:
                    lanes.store(y, panel * rows + i, result)
                elif i < count:
                    lanes.store(area, 0, result)
                    with T.serial(0, count - i) as c:
                        T.buffer_store(y, area[c], [panel * rows + i + c])

        if m % rows == 0:
            store(rows)
            return
        with T.If(panel == panels - 1):
            with T.Then():
                store(m % rows)
            with T.Else():
                store(rows)

    params = [Param(k, numerics.x), Param(panels * k * rows, numerics.w), Param(panels * rows, numerics.acc)]
    params += [Param(m, numerics.y)] * (2 if epilogue.residual else 1)
    symbol = kernel_symbol("vector", numerics, f"dense_m{m}k{k}", target, epilogue)
    return build_kernel(symbol, params, panels, body, scratch=Param(lanes.count, numerics.acc))


def vector_sparse(
    m: int, k: int, entries: int, index: Element, numerics: Numerics, epilogue: Epilogue, target: Target
) -> Kernel:
    """Sparse form. Reads: x, indptr, indices, values, bias[, residual]; writes: y.

    Shapes: as `vector_dense`; indptr int32 [M + 1] counts groups of `CHAINS` entries; indices and values
        [entries], each row padded with (0, 0.0).
    Over-read: none. Order: CHAINS interleaved chains of ascending k, summed pairwise.
    """
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
