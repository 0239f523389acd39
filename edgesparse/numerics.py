"""Element types as data: what a stage has to know of one is a column of its row here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Tolerance:
    """How far a value may be from the expected one: `absolute`, of the largest there, and `relative`, of its own."""

    absolute: float
    relative: float


EXACT = Tolerance(0.0, 0.0)
ROUNDED = Tolerance(1e-4, 1e-3)
ROUNDED_TO_HALF = Tolerance(1e-2, 0.0)


@dataclass(frozen=True)
class Element:
    """An element type.

    `name` is that of numpy and TVM, `short` the one in names of kernels, `onnx` that of ONNX. Sums of products are kept
    in `accumulator`, by name. `tolerance` is that of a network's outputs. `channels` neighbours lie in one element.
    """

    name: str
    short: str
    onnx: str
    bits: int
    accumulator: str
    tolerance: Tolerance = EXACT
    channels: int = field(default=1, repr=False)

    @property
    def size_bytes(self) -> int:
        """Bytes of one element in memory."""
        return -(-self.bits // 8)

    @property
    def numpy(self) -> np.dtype:
        """The type of an array."""
        import numpy as np  # a list of targets is to be had without it

        return np.dtype(self.name)

    @property
    def wide(self) -> Element:
        """What sums of products are kept in."""
        return element(self.accumulator)

    def __str__(self) -> str:
        return self.short


_ROWS = (
    Element("float16", "f16", "FLOAT16", 16, "float32", ROUNDED_TO_HALF),
    Element("float32", "f32", "FLOAT", 32, "float32", ROUNDED),
    Element("float64", "f64", "DOUBLE", 64, "float64", Tolerance(1e-6, 1e-5)),  # norms may keep statistics in float32
    Element("int8", "i8", "INT8", 8, "int32"),
    Element("uint8", "u8", "UINT8", 8, "int32"),
    Element("int16", "i16", "INT16", 16, "int64"),
    Element("uint16", "u16", "UINT16", 16, "int64"),
    Element("int32", "i32", "INT32", 32, "int64"),
    Element("uint32", "u32", "UINT32", 32, "uint64"),
    Element("int64", "i64", "INT64", 64, "int64"),
    Element("uint64", "u64", "UINT64", 64, "uint64"),
    Element("bool", "b8", "BOOL", 8, "int32"),
)
ELEMENTS = {row.name: row for row in _ROWS}
"""By name."""


def element(of: str | np.dtype) -> Element:
    """The row of a type, by its name or as numpy's."""
    return ELEMENTS[of if isinstance(of, str) else of.name]


F16 = element("float16")
F32 = element("float32")
F64 = element("float64")
I32 = element("int32")
I64 = element("int64")


@dataclass(frozen=True)
class Numerics:
    """The element types of a layer y = w @ x: of its operands, of the sums, and of what it writes."""

    x: Element
    w: Element
    acc: Element
    y: Element

    @classmethod
    def plain(cls, of: Element) -> Numerics:
        """One type for all, and the sums in the one that goes with it."""
        return cls(of, of, of.wide, of)

    @property
    def kept(self) -> Element:
        """What sums are kept in from one block of K to the next."""
        return F32 if self.acc.bits < F32.bits else self.acc

    @property
    def most_products(self) -> int:
        """How many products may be summed in a block of K before they are added to what is kept."""
        return HALF_PRODUCTS if self.sums_blocks else 1 << 31

    @property
    def sums_blocks(self) -> bool:
        """Blocks of K are added up in a wider type than their products."""
        return self.kept != self.acc

    @property
    def rows_together(self) -> int:
        """Rows whose weights, or outputs, panels keep together: of quads, and of what a vector holds eight of."""
        return 1 if self.w.bits == F32.bits and not self.is_dotted else QUAD

    @property
    def is_dotted(self) -> bool:
        """Operands are quads: a product is the dot product of four channels."""
        return self.w.channels == QUAD

    @property
    def told(self) -> str:
        """The element type for people: int8 for bytes of either sign."""
        return QUAD_I8.onnx.lower() if self.is_dotted else str(self)

    def __str__(self) -> str:
        """Such as f32, or u8i8 where operands differ."""
        return str(self.x) if self.x == self.w else f"{self.x}{self.w}"


QUAD = 4
"""Neighbouring input channels at one tap that dot products take together."""

QUAD_U8 = Element("int32", "u8", "UINT8", 32, "int32", channels=QUAD)
QUAD_I8 = Element("int32", "i8", "INT8", 32, "int32", channels=QUAD)
"""Words of QUAD bytes: what kernels that run on dot products load, multiply and count, as one element."""

PLAIN = Numerics.plain(F32)
"""Float32 throughout, as networks are trained."""

HALF_PRODUCTS = 128
"""A sum of n numbers, each addition rounded by u = 2**-11 at most, is wrong by about sqrt(n) * u of their magnitudes:
here 0.0055, about half of what is tolerated.

Source: Higham and Mary 2019, "A New Approach to Probabilistic Rounding Error Analysis", SIAM J. Sci. Comput. 41(5).
"""

_HALF = Element("float16", "f16", "FLOAT16", 16, "float16", ROUNDED_TO_HALF)
HALF = Numerics.plain(_HALF)
"""Float16, and sums in it as far as `most_products` says."""

HALF_OF_COLUMN = Numerics.plain(F16)
"""Float16, and sums in float32: for the kernels of a single column, which wait for their weights."""

TAKEN = frozenset({F32})
"""Element types that kernels over activations compute with."""

COMPUTED = (PLAIN, HALF)
"""What the kernels of weighted layers compute with."""
