"""Attention: y = softmax(q @ k' * scale + mask) @ v, of all heads.

Every operand is stored as linear layers write it, [F, N]: its features by row, its tokens side by side. Lanes run
over queries. A tile is a panel of queries of one head: its scores, [keys, panel], stay in scratch from the first
product over the softmax to the second, and the softmax needs no sums over lanes.

Source: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762; the tiling over queries after Rabe and
Staats 2021, "Self-attention Does Not Need O(n^2) Memory", arXiv:2112.05682.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Lanes, Param, build_kernel, kernel_symbol
from edgesparse.backends.cpu.kernels.math import exp_nonpositive, hold
from edgesparse.backends.cpu.kernels.matmul import accumulate, block_rows
from edgesparse.backends.cpu.kernels.vectors import each_step
from edgesparse.devices.cpu import Cpu
from edgesparse.devices.targets import Target
from edgesparse.forms.caches import SHARED
from edgesparse.graph.attention import AttentionShape


def attention(shape: AttentionShape, target: Target) -> Kernel:
    """Build the kernel. Reads: q, k, v[, mask]; writes: y.

    Shapes: q [heads, width, batch, queries]; k [heads, width, batch, keys]; v [heads, value_width, batch, keys];
        mask as `Mask` says, its queries side by side; y [heads, value_width, batch, queries]. A tile is a panel of
        queries; the last one overlaps the one before where they do not divide, and stores the same values there.
    Over-read: none. Order: ascending feature, then ascending key.
    """
    panel = _Panel.fit(shape, target.cpu)
    panels = -(-shape.queries // panel.width)
    tokens = shape.batch * shape.heads

    def body(tile: Expr, q: Buffer, k: Buffer, v: Buffer, *rest: Buffer) -> None:
        *mask, y, area = rest
        number, index = T.bind(T.floormod(tile, panels)), T.bind(T.floordiv(tile, panels))
        batch, head = T.bind(T.floormod(index, shape.batch)), T.bind(T.floordiv(index, shape.batch))
        column = T.bind(T.min(number * panel.width, shape.queries - panel.width))
        work = _Work(shape, panel, target.cpu, area, batch, head, column)
        work.scale_queries(q)
        peak = work.scores(k, mask[0] if mask else None)
        work.values(v, y, work.powers(peak))

    sizes = [shape.queries * shape.width, shape.keys * shape.width, shape.keys * shape.value_width]
    params = [Param(tokens * size, shape.element) for size in sizes]
    params += [Param(shape.mask.size, shape.element)] if shape.mask is not None else []
    params.append(Param(tokens * shape.queries * shape.value_width, shape.element))
    scratch = Param((shape.width + shape.keys) * panel.width, shape.element)
    symbol = kernel_symbol("attention", shape.element, f"h{shape.heads}q{shape.queries}k{shape.keys}", target, shape)
    return build_kernel(symbol, params, tokens * panels, body, scratch=scratch)


@dataclass(frozen=True)
class _Panel:
    """The queries of a tile: `vectors` registers of them."""

    lanes: Lanes
    vectors: int

    @property
    def width(self) -> int:
        return self.lanes.count * self.vectors

    @property
    def columns(self) -> range:
        """Offset of each vector."""
        return range(0, self.width, self.lanes.count)

    @staticmethod
    def fit(shape: AttentionShape, cpu: Cpu) -> _Panel:
        """The scores of a panel take half of L1 if they can, two vectors in any case."""
        lanes = min(cpu.lanes(shape.element), 1 << (shape.queries.bit_length() - 1))
        most = 4 if cpu.registers >= 32 else 2
        vectors = max(2, min(most, int(SHARED * cpu.l1d_bytes) // (shape.element.size_bytes * lanes * shape.keys)))
        return _Panel(Lanes(lanes, shape.element), min(vectors, shape.queries // lanes))


@dataclass(frozen=True, eq=False)
class _Work:
    """One tile. Scratch holds its scores, [keys, panel], then its queries, [width, panel]."""

    shape: AttentionShape
    panel: _Panel
    cpu: Cpu
    area: Buffer
    batch: Expr
    head: Expr
    column: Expr  # of the first query

    def _rows(self, features: int, tokens: int) -> tuple[Expr, int]:
        """Where the features of this head begin, and elements from one to the next."""
        pitch = self.shape.batch * tokens
        return T.bind(self.head * (features * pitch) + self.batch * tokens), pitch

    def scale_queries(self, q: Buffer) -> None:
        """Copy the panel of queries together, scaled."""
        shape, panel, lanes = self.shape, self.panel, self.panel.lanes
        start, pitch = self._rows(shape.width, shape.queries)
        with T.serial(0, shape.width) as d:
            for u in panel.columns:
                value = lanes.load(q, start + d * pitch + self.column + u) * lanes.splat(shape.scale)
                lanes.store(self.area, (shape.keys + d) * panel.width + u, value)

    def scores(self, k: Buffer, mask: Buffer | None) -> Buffer:
        """Fill the scores; returns their maximum in each column."""
        shape, panel, lanes = self.shape, self.panel, self.panel.lanes
        start, pitch = self._rows(shape.width, shape.keys)
        peak = self._columns(float("-inf"))
        rows = block_rows(shape.keys, panel.vectors, self.cpu)

        def block(key: Expr | int) -> None:
            accs = accumulate(
                (rows, shape.width, panel.vectors),
                lanes,
                lambda r, d: k[start + d * pitch + key + r],
                lambda d, u: lanes.load(self.area, (shape.keys + d) * panel.width + u),
            )
            for u in panel.columns:
                scores = [hold(self._masked(lanes.load(acc, u), mask, key + r, u)) for r, acc in enumerate(accs)]
                highest = lanes.load(peak, u)
                for r, score in enumerate(scores):
                    lanes.store(self.area, (key + r) * panel.width + u, score)
                    highest = hold(T.max(highest, score))
                lanes.store(peak, u, highest)

        each_step(0, shape.keys, rows, block)
        return peak

    def _masked(self, score: Expr, mask: Buffer | None, key: Expr | int, u: int) -> Expr:
        if mask is None or self.shape.mask is None:
            return score
        steps, lanes = self.shape.mask, self.panel.lanes
        place = T.bind(self.batch * steps.batch + self.head * steps.head + key * steps.key)
        if steps.query == 0:
            return score + lanes.splat(mask[place])
        return score + lanes.load(mask, place + self.column + u)

    def powers(self, peak: Buffer) -> Buffer:
        """Put exp(score - maximum) in place of the scores; returns what the values are to be multiplied by."""
        shape, panel, lanes = self.shape, self.panel, self.panel.lanes
        total = self._columns(0.0)
        with T.serial(0, shape.keys) as key:
            for u in panel.columns:
                place = T.bind(key * panel.width + u)
                power = exp_nonpositive(hold(lanes.load(self.area, place) - lanes.load(peak, u)))
                lanes.store(self.area, place, power)
                lanes.store(total, u, lanes.load(total, u) + power)
        for u in panel.columns:
            lanes.store(total, u, lanes.splat(1.0) / lanes.load(total, u))
        return total

    def values(self, v: Buffer, y: Buffer, scale: Buffer) -> None:
        """Multiply the powers by v."""
        shape, panel, lanes = self.shape, self.panel, self.panel.lanes
        start, pitch = self._rows(shape.value_width, shape.keys)
        goal, goal_pitch = self._rows(shape.value_width, shape.queries)
        rows = block_rows(shape.value_width, panel.vectors, self.cpu)

        def block(row: Expr | int) -> None:
            accs = accumulate(
                (rows, shape.keys, panel.vectors),
                lanes,
                lambda r, key: v[start + (row + r) * pitch + key],
                lambda key, u: lanes.load(self.area, key * panel.width + u),
            )
            for r, acc in enumerate(accs):
                for u in panel.columns:
                    factor = lanes.load(scale, u)
                    value = hold(lanes.load(acc, u) * factor)
                    if shape.guarded:
                        value = hold(T.Select(factor >= lanes.splat(0.0), value, lanes.splat(0.0)))  # false for NaN
                    lanes.store(y, goal + (row + r) * goal_pitch + self.column + u, value)

        each_step(0, shape.value_width, rows, block)

    def _columns(self, start: float) -> Buffer:
        """A register for each vector of the panel."""
        lanes = self.panel.lanes
        buffer = lanes.sums(self.panel.width)
        for u in self.panel.columns:
            lanes.store(buffer, u, lanes.splat(start))
        return buffer
