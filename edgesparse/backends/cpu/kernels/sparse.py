"""The sparse form of the tiled kernels: groups of rows of w against the packed block of x.

A step takes, for each row (or block row) of a group, one index and its weights; the rows of a group end together.

Source: Elsen et al. 2019, "Fast Sparse ConvNets", arXiv:1911.09723.
"""

from __future__ import annotations

import numpy as np
from tvm.tirx import Buffer, Expr, const
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Kernel, Param
from edgesparse.backends.cpu.kernels.layer import LayerCall
from edgesparse.backends.cpu.kernels.tiles import Compute, Rows, build
from edgesparse.backends.cpu.kernels.vectors import QUAD, VECTOR_BITS, loaded
from edgesparse.forms.sparse import SparseTile
from edgesparse.forms.tile import Tile
from edgesparse.numerics import element


def kernel(call: LayerCall) -> Kernel:
    """Reads: x, offsets, indptr, indices, values, order, bias[, residual]; writes: y.

    Shapes: x, offsets, bias, residual, y and what is joined as those of the dense form; the weight as `GroupedRows`.
    Over-read: x and residual, below 64 bytes. Order: ascending k.
    """
    tile, is_wide = _tile_of(call.tile), call.target.cpu.vector_bits > VECTOR_BITS
    params = [Param(array.data.size, element(array.data.dtype)) for array in call.weights[:-1]]
    entries = tile.rows // tile.block[0] * tile.chunk
    if params[1].element.name == "uint16" and (is_wide or tile.chunk == QUAD):
        params[1] = _in_words(params[1], entries)
    if is_wide and tile.block[0] == 1:
        params[2] = _in_words(params[2], entries * tile.block[1])
    return build(call, params, _Sparse)


def _tile_of(tile: Tile) -> SparseTile:
    assert isinstance(tile, SparseTile)
    return tile


def _in_words(param: Param, count: int) -> Param:
    """The parameter as words that hold several of the `count` elements of a step, where there are such words.

    Loads of wide vectors leave little room for others: a broadcast from memory takes the place of one of them, a
    broadcast from a part of a word does not. Vectors of four are multiplied by an element of another instead.
    """
    size = param.element.size_bytes
    words = [word for word in (8, 4) if size < word and count * size % word == 0]
    return Param(param.size * size // words[0], element(f"uint{8 * words[0]}")) if words else param


class _Sparse(Compute):
    """`tile.rows` rows at a time, in block rows of `tile.block[0]` that share their indices.

    Where a step has weights for whole vectors, or four, they are loaded so: AArch64 multiplies by an element of one.
    """

    @property
    def tile(self) -> SparseTile:
        """The tile as planned."""
        return _tile_of(self.work.tile)

    @property
    def makes_quads(self) -> bool:
        """See `Compute`."""
        return self.tile.block[0] % self.work.numerics.y.channels == 0

    def rows(self, kb: Expr | int, size: int, x: Rows, first: bool, final: bool) -> None:
        indptr, indices, values, order = self.memory.weights
        (height, depth), group = self.tile.block, self.tile.rows // self.tile.block[0]
        with T.serial(self.place.first_unit, self.place.last_unit) as unit:
            place = T.bind((kb * self.plane.groups + self.place.group) * self.work.units + unit)
            begin = T.bind(indptr[place])
            rows = [T.bind(T.cast(order[place * group + g], "int32") * height) for g in range(group)]
            accs = [[self._accumulator() for _ in range(height)] for _ in range(group)]
            for g, row in enumerate(rows):
                for r in range(height):
                    self._start(accs[g][r], self._clamp(row + r), self._slot(row + r), first)
            with T.serial(0, indptr[place + 1] - begin) as step:
                columns = self._columns(indices, begin + step)
                weights = self._weights(values, begin + step)
                for at, column in enumerate(columns):
                    for q in range(depth):
                        several = weights[(at * depth + q) * height :][:height]
                        self._multiply(accs[at // self.tile.chunk], several, x, column + q * self.work.width)
            for g, row in enumerate(rows):
                self._finish_block(accs[g], row, final)

    def _columns(self, indices: Buffer, step: Expr) -> list[Expr]:
        """Where x lies for each entry of a step: [rows of the group, chunk]."""
        count = self.tile.rows // self.tile.block[0] * self.tile.chunk
        if indices.dtype in ("int32", "uint16"):
            return [T.bind(T.cast(indices[step * count + i], "int32")) for i in range(count)]
        parts = _split_words(indices, step, count, 16)
        return [T.bind(T.cast(part, "int32")) for part in parts]

    def _weights(self, values: Buffer, step: Expr) -> list[Expr]:
        """The weights of a step: [rows of the group, chunk, columns, rows of the block]."""
        count = self.tile.rows * self.tile.chunk * self.tile.block[1]
        kind = self.work.numerics.w
        if values.dtype != kind.name:
            parts = _split_words(values, step, count, kind.bits)
            return [T.bind(T.reinterpret(kind.name, T.cast(part, f"uint{kind.bits}"))) for part in parts]
        if self.work.cpu.vector_bits != VECTOR_BITS or count % QUAD:
            return [values[step * count + i] for i in range(count)]
        return loaded(values, step * count, count, self.lanes)

    def _multiply(self, accs: list[Buffer], weights: list[Expr], block: Rows, column: Expr) -> None:
        for u, lanes in self._vectors():
            x = T.bind(lanes.load(block.buffer, block.start + column + u))
            for acc, weight in zip(accs, weights, strict=True):
                self.multiply_add(acc, u, lanes, lanes.splat(weight), x)

    def _slot(self, row: Expr) -> Expr:
        return row - self.place.first_unit * self.tile.rows

    def _finish_block(self, accs: list[Buffer], row: Expr, final: bool) -> None:
        """Rows that only fill up the last group are not stored."""
        if final and self.makes_quads and self.work.numerics.y.channels > 1:
            self._finish_quads(accs, row)
            return
        for r, acc in enumerate(accs):
            if not final or self.keeps_sums or self.plane.m % self.tile.rows == 0:
                self.finish([acc], row + r, self._slot(row + r), final)
                continue
            with T.If(row + r < self.plane.m), T.Then():
                self.finish([acc], row + r, self._slot(row + r), final)

    def _finish_quads(self, accs: list[Buffer], row: Expr) -> None:
        rest = self.plane.m % len(accs)
        with T.If(row + len(accs) <= self.plane.m):
            with T.Then():
                self.finish(accs, row, self._slot(row), True)
            if rest:
                with T.Else(), T.If(row < self.plane.m), T.Then():
                    self.finish(accs[:rest], row, self._slot(row), True)


def _split_words(buffer: Buffer, step: Expr, count: int, bits: int) -> list[Expr]:
    """The `count` unsigned numbers of `bits` bits of a step, from the words of `buffer`."""
    word_bits = np.dtype(buffer.dtype).itemsize * 8
    each = word_bits // bits
    words = [T.bind(buffer[step * (count // each) + i]) for i in range(count // each)]
    kind, ones = buffer.dtype, (1 << bits) - 1
    return [
        T.bitwise_and(T.shift_right(word, const(bits * i, kind)), const(ones, kind))
        for word in words
        for i in range(each)
    ]
