"""Fit what is left of each layer to what the whole network gives: least squares without a mask.

Source: He et al. 2017, "Channel Pruning for Accelerating Very Deep Neural Networks", arXiv:1707.06168, section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import onnx_ir as ir

from edgesparse.prune.moments import Moments
from edgesparse.prune.samples import Samples
from edgesparse.prune.seen import seen
from edgesparse.sparsity.weights import WeightRef, find_weights, readers


def refit(model: ir.Model, dense: ir.Model, kept: Mapping[str, np.ndarray], samples: Samples) -> None:
    """Give the layers of a smaller model the weights and biases with which they come nearest to the dense one.

    Layer after layer: each sees its inputs as the smaller model gives them by then.

    Args: kept: which channels of a value of the dense model are left, by its name.

    Raises: PruneError: ONNX Runtime cannot run a model on the samples.
    """
    whole = {ref.tensor: ref.k for ref in find_weights(dense)}
    refs = [ref for ref in find_weights(model) if not ref.quantized and _alone(ref)]
    lost = [at for at, ref in enumerate(refs) if whole.get(ref.tensor) != ref.k]  # before, nothing differs
    for layer in seen(model, refs[min(lost, default=len(refs)) :], samples, dense, kept):
        if layer.moments is not None:
            matrix, moments = layer.moments.fitted(partial(Moments.goal, weight=layer.matrix))
            layer.put(matrix.astype(layer.ref.array().dtype), moments)


def _alone(ref: WeightRef) -> bool:
    """Whether nothing but layers reads the weight."""
    return all(node.op_type == ref.op for node in readers(ref.value)) and not ref.value.is_graph_output()
