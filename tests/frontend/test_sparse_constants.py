"""Sparse constants are read as ONNX Runtime reads them; one whose parts do not fit is one line."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgesparse.errors import FrontendError
from edgesparse.frontend import load, read
from tests.models import ort_run

PLACES = {"linear": [1, 4, 20], "by axis": [[0, 1], [0, 4], [2, 6]], "none": np.zeros(0)}


def _sparse(places, dtype=np.float32, shape=(3, 7), count=None) -> onnx.SparseTensorProto:
    values = np.arange(1, 1 + (len(places) if count is None else count)).astype(dtype)
    indices = np.array(places, np.int64)
    return helper.make_sparse_tensor(
        numpy_helper.from_array(values, "w"), numpy_helper.from_array(indices, "at"), shape
    )


def _model(sparse: onnx.SparseTensorProto, as_node: bool = False) -> onnx.ModelProto:
    shape, kind = tuple(max(0, size) for size in sparse.dims), sparse.values.data_type
    ends = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    constant = [helper.make_node("Constant", [], ["w"], sparse_value=sparse)] if as_node else []
    graph = helper.make_graph([*constant, helper.make_node("Add", ["x", "w"], ["y"])], "g", ends[:1], ends[1:])
    if not as_node:
        graph.sparse_initializer.append(sparse)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("as_node", [False, True], ids=["of the graph", "of a node"])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.float64])
@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_a_sparse_constant_has_the_elements_that_onnx_runtime_gives_it(places, dtype, as_node):
    source = _model(_sparse(places, dtype), as_node)
    before = source.SerializeToString()
    x = {"x": np.ones((3, 7), dtype)}

    np.testing.assert_array_equal(ort_run(load(source), x)[0], ort_run(source, x)[0])
    assert source.SerializeToString() == before


@pytest.mark.parametrize(
    ("sparse", "message"),
    [
        (_sparse([1, 21]), "an index lies outside of the shape"),
        (_sparse([-1, 4]), "an index lies outside of the shape"),
        (_sparse([[0, 7], [1, 1]]), "an index lies outside of the shape"),
        (_sparse([1, 4], count=3), r"indices have the shape \[2\] and values \[3\]"),
        (_sparse([[0, 1, 2], [1, 2, 2]]), r"indices have the shape \[2, 3\] and values \[2\]"),
        (_sparse([1, 4], shape=(10**6, 10**7)), "40000000000000 bytes, expected 0 to"),
        (_sparse([1, 4], shape=(-3, 7)), r"the shape is \[-3, 7\]"),
    ],
)
def test_parts_that_do_not_fit_are_one_line(sparse, message):
    with pytest.raises(FrontendError, match=message):
        read(_model(sparse))
