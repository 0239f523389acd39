"""What a user should know of a model that compiles: sizes that were assumed, and weights that are no numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgesparse.errors import first_few
from edgesparse.frontend.shapes import InputShapes, assumed_batches
from edgesparse.sparsity.weights import find_weights

NAMES_SHOWN = 4


def remarks(model: ir.Model, input_shapes: InputShapes | None = None) -> tuple[str, ...]:
    """Lines about a model as it was read, for these shapes.

    Only weights of layers are looked at: an infinite mask among other constants is in order.
    """
    return (*_sizes(model, input_shapes), *_defaults(model), *_weights(model))


def _sizes(model: ir.Model, input_shapes: InputShapes | None) -> Iterator[str]:
    batches = assumed_batches(model, input_shapes)
    if batches:
        yield f"batch size 1 is assumed of {', '.join(batches)}; --input-shape gives another"


def _defaults(model: ir.Model) -> Iterator[str]:
    """Before version 4 of the format every initializer had to be an input."""
    held = [value.name or "" for value in model.graph.inputs if value.name in model.graph.initializers]
    if held and (model.ir_version or 0) >= 4:
        yield f"inputs with a default become constants of the artifact: {first_few(held, NAMES_SHOWN)}"


def _weights(model: ir.Model) -> Iterator[str]:
    for ref in find_weights(model):
        array = ref.array()
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            nans, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
            yield f"weight {ref.tensor!r} of {ref.node} holds {nans} NaN and {infinite} infinite values of {array.size}"
