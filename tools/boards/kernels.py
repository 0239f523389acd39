"""What every weighted kernel costs on Arm cores: the table in bench/results/arm-kernels.md.

    python -m tools.boards.kernels

Counts come from QEMU and repeat exactly; cycles are modelled from them (`tools/boards/ports.py`). Nothing is a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgesparse.backends.cpu.kernels.vectors import QUAD
from edgesparse.devices import targets
from edgesparse.forms.column import ColumnTile
from edgesparse.forms.dense import DenseTile
from edgesparse.forms.sparse import SparseTile
from edgesparse.forms.sparse_column import SparseColumnTile
from edgesparse.forms.tile import Tile
from edgesparse.numerics import F32
from edgesparse.sparsity.patterns import Block
from tools.boards.counts import mix_of
from tools.boards.emulate import core_of
from tools.boards.layer import Shape, run_layer
from tools.boards.ports import inner_loop, kernel_cycles, loop_bounds

RESULT = Path(__file__).parents[2] / "bench" / "results" / "arm-kernels.md"
M, K, SIDE, DENSITY = 256, 512, 14, 0.1
WORKERS = 2


@dataclass(frozen=True)
class Form:
    """A kernel form with its tile: `rows` rows at a time, sparse ones in chunks of `chunk` entries."""

    kernel: str
    vectors: int
    rows: int = 1
    block: Block = Block()  # noqa: RUF009
    chunk: int = 1
    side: int = SIDE

    @property
    def name(self) -> str:
        """Such as "sparse 4x1 U=4", its vectors, and what differs from the plainest."""
        shape = "dense" if self.kernel == "dense" else f"sparse {self.block}"
        if self.side == 1:
            return f"{shape}, one column"
        rows = f", {self.rows} rows" if self.rows > self.block.rows else ""
        return f"{shape} U={self.vectors}{rows}{', quads' if self.chunk == QUAD else ''}"

    def tile(self, k_block: int) -> Tile:
        """Its tile."""
        if self.side == 1:
            return ColumnTile(self.vectors, K) if self.kernel == "dense" else SparseColumnTile(self.vectors, K)
        if self.kernel == "dense":
            return DenseTile(self.vectors, k_block, self.rows)
        block = self.block.rows, self.block.columns
        return SparseTile(self.vectors, k_block, self.rows, block=block, chunk=self.chunk)


FORMS = (
    Form("dense", 7, 3),
    Form("dense", 4, 6),
    Form("dense", 3, 8),
    Form("dense", 2, 8),
    *(Form("sparse", vectors) for vectors in (1, 2, 4, 7, 13)),
    *(Form("sparse", vectors, chunk=QUAD) for vectors in (4, 7, 13)),
    Form("sparse", 7, 2, chunk=QUAD),
    *(Form("sparse", 7, 2, Block(2, 1), chunk) for chunk in (1, QUAD)),
    *(Form("sparse", vectors, 4, Block(4, 1), chunk) for vectors, chunk in ((4, 1), (5, 1), (4, QUAD))),
    Form("sparse", 7, 1, Block(1, 4)),
    Form("dense", 1, side=1),
    Form("sparse", 1, side=1),
)
BOARDS = {"rpi3": 128, "rpi4": 256, "rpi5": 512}
"""Boards of the table, and their blocks of K."""


@dataclass(frozen=True)
class Row:
    """A line of the table. The first figures are of the inner loop, with its data in L1."""

    board: str
    form: str
    instructions: float  # per 128-bit multiply-add, as everything below
    loads: float
    cycles: float
    bound: str
    kernel_cycles: float  # of the whole kernel, its data in L1, per multiply-add that the weight needs
    l1_misses: float  # of the whole kernel, per 1,000
    l2_misses: float

    @property
    def line(self) -> str:
        """As printed."""
        figures = (self.instructions, self.loads, self.cycles)
        misses = (self.l1_misses, self.l2_misses)
        cells = [self.board, self.form, *(f"{figure:.2f}" for figure in figures), self.bound]
        cells += [f"{self.kernel_cycles:.2f}", *(f"{count:.0f}" for count in misses)]
        return f"| {' | '.join(cells)} |"


HEADERS = (
    "target",
    "form",
    "instructions",
    "loads",
    "cycles",
    "bound by",
    "cycles, whole kernel",
    "L1 misses / 1,000",
    "L2 misses / 1,000",
)


def measure(board: str, form: Form) -> Row:
    """Emulate the layer of the table with one form.

    Raises: EmulatorError: QEMU, or its support of plugins, is missing.
    """
    target = targets.load(board)
    core = core_of(target)
    tile = form.tile(BOARDS[board])
    shape = Shape(M, K, form.side, DENSITY if tile.is_sparse else 1.0, form.block)
    ran = run_layer(shape, tile, target)
    loop = inner_loop(ran)
    inner, total = mix_of(loop.body), shape.needed_fmas(target.cpu.lanes(F32))
    limits = loop_bounds(loop, core)
    return Row(
        board=board,
        form=form.name,
        instructions=inner.instructions / inner.macs,
        loads=inner.loads / inner.macs,
        cycles=limits.cycles / inner.macs,
        bound=limits.bound,
        kernel_cycles=kernel_cycles(ran, core) / total,
        l1_misses=1000 * sum(each.l1_misses for each in ran) / total,
        l2_misses=1000 * sum(each.l2_misses for each in ran) / total,
    )


def table(rows: Sequence[Row]) -> str:
    """The page."""
    lines = [
        "# Weighted kernels on Arm cores",
        "",
        f"A 1x1 convolution of {K} to {M} channels over {SIDE}x{SIDE} pixels, zeros at density {DENSITY:g}. Figures are"
        " for each 128-bit multiply-add, or four scalar ones. Instructions, loads and misses are *counted* under QEMU, "
        "exactly; cycles are "
        "*modelled* from them by the ports of the core (`tools/boards/ports.py`), never timed. The inner loop has its "
        "data in L1; the whole kernel adds the copy of x, the starts and ends of rows, mispredicted loop ends and what "
        "padding wastes; it counts the multiply-adds that the weight needs. "
        "Misses are of cold LRU caches without a prefetcher.",
        "",
        "| " + " | ".join(HEADERS) + " |",
        "|" + "---|" * len(HEADERS),
        *(row.line for row in rows),
        "",
        "Written by `python -m tools.boards.kernels`.",
    ]
    return "\n".join(lines) + "\n"


def rows() -> Iterator[Row]:
    """Every form on every board."""
    cases = [(board, form) for board in BOARDS for form in FORMS]
    with ThreadPoolExecutor(WORKERS) as pool:
        yield from pool.map(lambda case: measure(*case), cases)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    text = table(list(rows()))
    options.output.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
