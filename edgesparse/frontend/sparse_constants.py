"""Constants that a file holds as positions and values become tensors of all elements."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
from onnx import AttributeProto, ModelProto, SparseTensorProto, TensorProto, numpy_helper

from edgesparse.errors import FrontendError
from edgesparse.frontend.fold import FOLD_BYTES
from edgesparse.frontend.scopes import all_graphs, all_nodes
from edgesparse.inputs import said


def densified(model: ModelProto, where: str) -> ModelProto:
    """Return `model` with dense constants in place of sparse ones; `model` itself where it has none.

    Raises: FrontendError: positions or values do not fit the shape, or it is too large for all elements.
    """
    if not any(graph.sparse_initializer for graph in all_graphs(model.graph)) and not any(_constants(model)):
        return model
    copy = ModelProto()
    copy.CopyFrom(model)
    for graph in all_graphs(copy.graph):
        graph.initializer.extend(_dense(sparse, where) for sparse in graph.sparse_initializer)
        del graph.sparse_initializer[:]
    for attribute in _constants(copy):
        attribute.t.CopyFrom(_dense(attribute.sparse_tensor, where))
        attribute.ClearField("sparse_tensor")
        attribute.name, attribute.type = "value", AttributeProto.TENSOR
    return copy


def _constants(model: ModelProto) -> Iterator[AttributeProto]:
    """What Constants hold that is sparse."""
    for node in all_nodes(model):
        if node.op_type == "Constant":
            yield from (attribute for attribute in node.attribute if attribute.HasField("sparse_tensor"))


def _dense(sparse: SparseTensorProto, where: str) -> TensorProto:
    name, shape = f"{where}: sparse tensor {sparse.values.name!r}", tuple(sparse.dims)
    if TensorProto.EXTERNAL in (sparse.values.data_location, sparse.indices.data_location):
        raise FrontendError(f"{name}: its data are in another file, expected in this one")
    try:
        values, places = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    except (TypeError, ValueError, KeyError) as err:
        raise FrontendError(f"{name}: cannot be read: {said(err)}") from err
    if values.dtype.kind == "O" or places.dtype != np.int64:
        raise FrontendError(f"{name}: got {values.dtype} at indices of {places.dtype}, expected numbers and int64")
    size = prod(shape) * values.itemsize
    if min(shape, default=0) < 0 or size > FOLD_BYTES:
        raise FrontendError(f"{name}: the shape is {list(shape)}: {size} bytes, expected 0 to {FOLD_BYTES}")
    expected = (len(places), len(shape)) if places.ndim == 2 else (values.size,)
    if values.ndim != 1 or len(values) != len(places) or places.shape != expected:
        raise FrontendError(
            f"{name}: indices have the shape {list(places.shape)} and values {list(values.shape)}, "
            f"expected [n] or [n, {len(shape)}], and [n]"
        )
    limits = np.array(shape if places.ndim == 2 else prod(shape))
    if not ((places >= 0) & (places < limits)).all():
        raise FrontendError(f"{name}: an index lies outside of the shape {list(shape)}")
    array = np.zeros(shape, values.dtype)
    array[tuple(places.T) if places.ndim == 2 else np.unravel_index(places, shape)] = values
    return numpy_helper.from_array(array, sparse.values.name)
