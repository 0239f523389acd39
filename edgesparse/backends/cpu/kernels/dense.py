"""The dense form of the tiled kernels: panels of rows against the packed block of x.

Source: Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
"""

from __future__ import annotations

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Param
from edgesparse.backends.cpu.kernels.layer import LayerCall
from edgesparse.backends.cpu.kernels.tiles import Compute, Rows, build
from edgesparse.backends.cpu.kernels.vectors import QUAD, loaded


def kernel(call: LayerCall) -> Kernel:
    """Reads: x, offsets, panels, bias[, residual, or weight and bias of what is joined]; writes: y.

    Shapes: x flat, or [tiles, K, width] and no offsets; offsets int32 [K];
        panels [groups, blocks, panels, k_block, rows]; bias, and scales behind it where it `is_scaled`, [groups * M];
        residual and y [batch, groups * M, height, width], or [tiles, M, width].
    Over-read: x and residual, below 64 bytes. Order: ascending k inside a block, blocks in order.
    """
    (panels, _), kind = call.weights, call.layer.numerics.w
    return build(call, [Param(panels.data.size, kind)], _Dense)


class _Dense(Compute):
    """A panel of `tile.rows` rows at a time."""

    @property
    def makes_quads(self) -> bool:
        """See `Compute`."""
        return self.tile.rows % self.work.numerics.y.channels == 0 or self.work.units == 1

    def rows(self, kb: Expr | int, size: int, x: Rows, first: bool, final: bool) -> None:
        (panels,) = self.memory.weights
        height = self.tile.rows
        count = self.work.units
        with T.serial(self.place.first_unit, self.place.last_unit) as panel:
            start = T.bind(((self.place.group * self.work.blocks + kb) * count + panel) * (self.tile.k_block * height))
            accs = [self._accumulator() for _ in range(height)]

            for r, acc in enumerate(accs):
                slot = (panel - self.place.first_unit) * height + r
                self._start(acc, self._clamp(panel * height + r), slot, first)
            with T.serial(0, size) as k:
                weights = self._weights(panels, start + k * height)
                for u, lanes in self._vectors():
                    column = T.bind(lanes.load(x.buffer, x.start + k * self.work.width + u))
                    for acc, weight in zip(accs, weights, strict=True):
                        self.multiply_add(acc, u, lanes, lanes.splat(weight), column)

            def finish(rows: int) -> None:
                self.finish(accs[:rows], panel * height, (panel - self.place.first_unit) * height, final)

            if not final or self.plane.m % height == 0:
                finish(height)
                return
            with T.If(panel == count - 1):
                with T.Then():
                    finish(self.plane.m % height)
                with T.Else():
                    finish(height)

    def _weights(self, panels: Buffer, start: Expr) -> list[Expr]:
        """Those of a column of a panel. LLVM puts float32 side by side in a register by itself, and no float16."""
        height = self.tile.rows
        if self.work.numerics.sums_blocks and height % QUAD == 0:
            return loaded(panels, start, height, self.lanes)
        return [panels[start + r] for r in range(height)]
