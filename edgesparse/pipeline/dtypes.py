"""What layers are to be computed with: the option `dtype`, and how near results are then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesparse.errors import OptionError, SearchError, nearest
from edgesparse.numerics import F16, F32, Element
from edgesparse.pipeline.settings import Pruning

if TYPE_CHECKING:
    import onnx_ir as ir

DTYPES = {of.short: of for of in (F16, F32)}
"""Values of the option; without it, a model is computed with its own types."""


def dtype_called(name: str | None, pruning: Pruning | None = None) -> Element | None:
    """The type of that name; None for None.

    Raises: OptionError: there is none. SearchError: a budget is to be met, which searches in the types of the model.
    """
    if name is None:
        return None
    if name not in DTYPES:
        raise OptionError(f"dtype: got {name!r}, expected {' or '.join(DTYPES)}{nearest(name, DTYPES)}")
    if pruning is not None and pruning.searches:
        raise SearchError(
            f"dtype {name} with a budget: a search predicts in the types of the model; "
            f"remedy: edgesparse prune with the budget, then compile what it wrote with dtype {name}"
        )
    return DTYPES[name]


def computed_with(model: ir.Model, dtype: Element | None) -> Element | None:
    """The type by which results are judged; None where that is their own."""
    from edgesparse.quantize import has_half

    return F16 if dtype == F16 or (dtype is None and has_half(model)) else None
