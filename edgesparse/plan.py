"""What `schedule` hands to `lower`: how each weighted layer is computed, and why."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgesparse.numerics import Numerics


@dataclass(frozen=True)
class Tile:
    """Tile of y[M, N] = w[M, K] @ x[K, N] over N.

    `vectors` SIMD registers of columns at a time; x is packed `k_block` rows at a time; `rows` output rows are
    accumulated at once; M is cut into `splits` ranges that run in parallel. In sparse kernels, `block` = (rows,
    columns) of w share an index: (1, 1) is unstructured; a step of their inner loop takes `chunk` entries of each row.
    Dense kernels may compute outputs in squares of side `square` by minimal filtering (Winograd); then `vectors` and
    N count squares, and x is transformed whole. Those of few columns may lay their vectors over M: `columns` of N, no
    more than a register has lanes, are accumulated at once for `vectors` registers of rows, and it is N that is cut
    into `splits` ranges.
    """

    vectors: int
    k_block: int
    rows: int = 1
    splits: int = 1
    block: tuple[int, int] = (1, 1)
    chunk: int = 1
    square: int = 1
    columns: int = 0

    @property
    def name(self) -> str:
        """A word for it, such as u4k128r7, or 1x4_u7k256r1c4s2."""
        block = "" if self.block == (1, 1) else "{}x{}_".format(*self.block)
        parts = {"c": self.chunk, "s": self.splits, "q": self.square}
        more = "".join(f"{letter}{count}" for letter, count in parts.items() if count > 1)
        return f"{block}u{self.vectors}k{self.k_block}r{self.rows}{more}{f'n{self.columns}' if self.columns else ''}"


@dataclass(frozen=True)
class LayerPlan:
    """How one weighted layer is computed, and why.

    `kernel` is "dense" or "sparse"; `break_even` is the density below which sparse is predicted to win by more than
    the model's error. Times are predicted, from a calibration whose `origin` is "measured" or "estimated"; `sparse_us`
    is that of the best sparse kernel at the layer's density. `saved` is the share of the dense time that it saves, in
    the mean of one thread and all cores: what the choice is made by.
    """

    layer: str  # ONNX node name
    op: str
    m: int
    k: int
    n: int
    numerics: Numerics = field(repr=False)
    density: float
    kernel: str
    tile: Tile
    break_even: float
    reason: str
    dense_us: float = 0.0
    sparse_us: float = 0.0
    saved: float = 0.0
    origin: str = "estimated"

    @property
    def types(self) -> str:
        """Its element types in a word, such as f32."""
        return str(self.numerics)

    @property
    def choice(self) -> str:
        """The kernel and its tile in words."""
        block = "" if self.kernel == "dense" or self.tile.block == (1, 1) else " {}x{}".format(*self.tile.block)
        rows = f"{self.tile.rows} rows x " if self.tile.rows > 1 else ""
        chunk = f" x {self.tile.chunk} entries" if self.tile.chunk > 1 else ""
        splits = f", {self.tile.splits} splits" if self.tile.splits > 1 else ""
        square = f" in squares of {self.tile.square}x{self.tile.square}" if self.tile.square > 1 else ""
        vectors = f"{self.tile.vectors} vector" + ("s" if self.tile.vectors > 1 else "")
        if self.tile.columns:
            rows, vectors = f"{self.tile.columns} columns x ", f"{vectors} of rows"
        return f"{self.kernel}{block}{square}, {rows}{vectors}{chunk}, K {self.tile.k_block}{splits}"

    @property
    def predicted_us(self) -> float:
        """The predicted time of the chosen kernel."""
        return self.dense_us if self.kernel == "dense" else self.sparse_us

    def told(self) -> tuple[str, str]:
        """Density and break-even as texts that tell which is larger."""
        return apart(self.density, self.break_even)


def apart(density: float, break_even: float) -> tuple[str, str]:
    """Both as texts of as many digits, from three on, as it takes to tell which is larger."""
    digits = 3
    while density != break_even and f"{density:.{digits}f}" == f"{break_even:.{digits}f}" and digits < 17:
        digits += 1
    return f"{density:.{digits}f}", f"{break_even:.{digits}f}"
