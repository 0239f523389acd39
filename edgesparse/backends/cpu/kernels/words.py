"""How tiles store outputs that are quads: bytes of four neighbouring channels become words in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm.tirx import Buffer, Expr
from tvm.tirx.script import builder as T

from edgesparse.backends.cpu.kernel import Lanes
from edgesparse.backends.cpu.kernels.epilogue import Requantized
from edgesparse.backends.cpu.kernels.vectors import store_first
from edgesparse.devices.cpu import Cpu
from edgesparse.numerics import QUAD

Sums = tuple[Buffer, "Expr | int"]
"""Those of a row: where they begin in a buffer."""


@dataclass(frozen=True, eq=False)
class Words:
    """The outputs of a tile: `size` neighbours of each row of words, which lie `pitch` apart; `start` is the first."""

    epilogue: Requantized
    cpu: Cpu
    y: Buffer
    scale: Buffer
    scale0: Expr  # where the scale of row 0 lies
    start: Expr
    pitch: int
    size: int
    vectors: Sequence[tuple[int, Lanes]]

    def store(self, sums: Sequence[Sums], row: Expr) -> None:
        """Words of neighbouring rows, of which the first is one of a word; bytes of missing rows are zero."""
        for first in range(0, len(sums), QUAD):
            several = sums[first : first + QUAD]
            place = T.bind(self.start + T.shift_right(row + first, 2) * self.pitch)
            scales = [T.bind(self.scale[self.scale0 + row + (first + r)]) for r in range(len(several))]
            for u, lanes in self.vectors:
                values = [lanes.load(buffer, start + u) for buffer, start in several]
                word = self.epilogue.quads(values, [lanes.splat(scale) for scale in scales], self.cpu)
                store_first(self.y, place + u, word, min(lanes.count, self.size - u))
