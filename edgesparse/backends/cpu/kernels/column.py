"""Weight times one vector: y[M] = w[M, K] @ x[K], for classifier heads and batch-1 perceptrons.

With a single column there are no lanes over N: they lie over M.
"""

from __future__ import annotations

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.dots import multiply_add
from edgesparse.backends.cpu.kernels.epilogue import Requantized
from edgesparse.backends.cpu.kernels.layer import LayerCall
from edgesparse.backends.cpu.kernels.math import converted
from edgesparse.backends.cpu.kernels.vectors import store_first
from edgesparse.forms.column import panel_vectors
from edgesparse.numerics import F32, QUAD


def kernel(call: LayerCall) -> Kernel:
    """Reads: x, panels, bias[, scale][, residual]; writes: y.

    Shapes: x [K]; panels [panels, K, rows of a panel]; bias, scale, residual and y [M]. A tile is one panel.
    Over-read: bias and residual, below 256 bytes. Order: ascending k.
    """
    numerics, epilogue, target = call.layer.numerics, call.epilogue, call.target
    m, k, lanes = call.layer.plane.m, call.layer.plane.k, Lanes(target.cpu.lanes(numerics.x), numerics.x)
    rows = panel_vectors(m, lanes.count) * lanes.count
    panels = -(-m // rows)

    def body(panel: Expr, x: Buffer, w: Buffer, bias: Buffer, *rest: Buffer) -> None:
        *others, y, area = rest
        scales = [others.pop(0)] if epilogue.is_scaled else []
        acc = lanes.sums(rows)
        steps = range(0, rows, lanes.count)
        for i in steps:
            lanes.store(acc, i, lanes.load(bias, panel * rows + i))
        with T.serial(0, k) as j:
            value = T.bind(lanes.splat(converted(x[j], numerics.acc.name)))
            for i in steps:
                weight, total = lanes.load(w, (panel * k + j) * rows + i), lanes.load(acc, i)
                lanes.store(acc, i, multiply_add(numerics, target.cpu, total, weight, value, x_first=True))
        results = []
        for i in steps:
            other = lanes.load(others[0], panel * rows + i) if others else None
            scale = lanes.load(scales[0], panel * rows + i) if scales else None
            results.append(T.bind(converted(epilogue.apply(lanes.load(acc, i), other, scale), numerics.y.name)))

        def store(count: int) -> None:
            for i, result in zip(steps, results, strict=True):
                here = min(count - i, lanes.count)
                if isinstance(epilogue, Requantized) and here > 0:
                    words, place = epilogue.words(result, here), panel * (rows // QUAD) + i // QUAD
                    store_first(y, place, words, -(-here // QUAD))
                elif here == lanes.count:
                    lanes.store(y, panel * rows + i, result)
                elif here > 0:
                    lanes.store(area, 0, result)
                    with T.serial(0, here) as c:
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
    params += [Param(panels * rows, F32)] if epilogue.is_scaled else []
    params += [Param(-(-m // numerics.y.channels), numerics.y)] * (2 if epilogue.residual else 1)
    symbol = kernel_symbol("vector", numerics, f"dense_m{m}k{k}", target, epilogue)
    return build_kernel(symbol, params, panels, body, scratch=Param(lanes.count, numerics.y))
