"""The forms of the kernels that compute weighted layers: one file each. `FORMS` lists them; nothing else does."""

from __future__ import annotations

from collections.abc import Iterator

from edgesparse.devices.cpu import Cpu
from edgesparse.forms.column import ColumnTile
from edgesparse.forms.dense import DenseTile
from edgesparse.forms.narrow import NarrowTile
from edgesparse.forms.sparse import SparseTile
from edgesparse.forms.sparse_column import SparseColumnTile
from edgesparse.forms.tile import Tile
from edgesparse.forms.weight import WeightCounts
from edgesparse.forms.winograd import WinogradTile
from edgesparse.graph.layers import Layer

FORMS: tuple[type[Tile], ...] = (
    DenseTile,
    NarrowTile,
    SparseTile,
    WinogradTile,
    ColumnTile,
    SparseColumnTile,
)
"""Of tiles that are predicted equally fast, one of the first form is chosen."""


def candidates(layer: Layer, weight: WeightCounts, cpu: Cpu) -> Iterator[Tile]:
    """Every tile of every form that a layer may run with."""
    for form in FORMS:
        yield from form.candidates(layer, weight, cpu)
