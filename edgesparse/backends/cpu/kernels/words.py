"""How tiles store outputs that are quads: bytes of four neighbouring channels become words in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Lanes
from edgesparse.backends.cpu.kernels.epilogue import Requantized
from edgesparse.backends.cpu.kernels.math import hold
from edgesparse.backends.cpu.kernels.vectors import merge_first, store_first
from edgesparse.numerics import QUAD


@dataclass(frozen=True, eq=False)
class Words:
    """The outputs of one tile: `size` neighbours of each row of words, which lie `pitch` apart; `start` is the first.

    Rows that are computed four by four are stored as they are; others are merged into words that were cleared.
    """

    epilogue: Requantized
    y: Buffer
    scale: Buffer
    scale0: Expr  # where the scale of row 0 lies
    start: Expr
    pitch: int
    size: int
    vectors: Sequence[tuple[int, Lanes]]

    def clear(self, first: Expr, last: Expr) -> None:
        """Zeros in the words of the rows from `first` to before `last`."""
        with T.serial(T.shift_right(first, 2), T.shift_right(last + (QUAD - 1), 2)) as quad:
            place = T.bind(self.start + quad * self.pitch)
            for u, lanes in self.vectors:
                zeros = T.int32(0) if lanes.count == 1 else T.broadcast(T.int32(0), lanes.count)
                store_first(self.y, place + u, zeros, min(lanes.count, self.size - u))

    def store(self, accs: Sequence[Buffer], row: Expr) -> None:
        """Words of neighbouring rows, of which the first is one of a word; bytes of missing rows are zero."""
        for first in range(0, len(accs), QUAD):
            several = accs[first : first + QUAD]
            place = T.bind(self._place(row + first))
            for u, lanes in self.vectors:
                values = [self._value(acc, u, row + first + r, lanes) for r, acc in enumerate(several)]
                store_first(self.y, place + u, self.epilogue.word(values), min(lanes.count, self.size - u))

    def merge(self, acc: Buffer, row: Expr) -> None:
        """The bytes of one row."""
        place, bits = T.bind(self._place(row)), T.bind(T.bitwise_and(row, 3) * 8)
        for u, lanes in self.vectors:
            byte = self.epilogue.word([self._value(acc, u, row, lanes)])
            shifted = hold(T.shift_left(byte, bits if lanes.count == 1 else T.broadcast(bits, lanes.count)))
            merge_first(self.y, place + u, shifted, min(lanes.count, self.size - u))

    def _place(self, row: Expr) -> Expr:
        return self.start + T.shift_right(row, 2) * self.pitch

    def _value(self, acc: Buffer, u: int, row: Expr, lanes: Lanes) -> Expr:
        return self.epilogue.apply(lanes.load(acc, u), scale=lanes.splat(self.scale[self.scale0 + row]))
