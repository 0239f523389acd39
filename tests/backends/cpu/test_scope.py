"""Views cost nothing, an order nobody holds costs one transposition, and numpy says what they must contain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.backends.cpu.kernel import Tensor
from edgesparse.backends.cpu.scope import Scope
from edgesparse.errors import InternalError
from edgesparse.graph.layout import ROWS
from tests.backends.cpu.executor import HOST, key, run_calls


def value(name: str, shape: tuple[int, ...], dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))


class Case:
    """A scope with one input, and numpy beside it doing the same."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        self.input = value("x", shape)
        self.scope = Scope([self.input], HOST)
        self.arrays = {"x": self.array}
        self.count = 0

    def reshape(self, source: ir.Value, *shape: int) -> ir.Value:
        view = value(f"v{len(self.arrays)}", shape)
        self.scope.reshape(view, source)
        self.arrays[str(view.name)] = self.arrays[str(source.name)].reshape(shape)
        return view

    def transpose(self, source: ir.Value, *perm: int) -> ir.Value:
        array = self.arrays[str(source.name)].transpose(perm)
        view = value(f"v{len(self.arrays)}", array.shape)
        self.scope.transpose(view, source, perm)
        self.arrays[str(view.name)] = array
        return view

    def read(self, stored: object) -> np.ndarray:
        """What lies in the memory of a stored tensor after the calls."""
        assert isinstance(stored, Tensor)
        results = run_calls(self.scope.calls, {"x": self.array})
        return results.get(key(stored), self.array).ravel()


def test_views_of_views_emit_nothing_until_read():
    case = Case((1, 9, 12))

    split = case.reshape(case.input, 1, 9, 3, 4)
    heads = case.transpose(split, 0, 2, 1, 3)
    back = case.transpose(heads, 0, 2, 1, 3)
    merged = case.reshape(back, 9, 12)
    stored = case.scope.rows(merged)

    assert case.scope.calls == []
    np.testing.assert_array_equal(case.read(stored), case.array.ravel())


@pytest.mark.parametrize("perm", [(0, 2, 1, 3), (0, 2, 3, 1), (3, 2, 1, 0), (0, 1, 3, 2)])
def test_rows_of_a_transposed_view_are_one_transposition(perm):
    case = Case((1, 9, 3, 4))

    view = case.transpose(case.input, *perm)
    stored = case.scope.rows(view)

    assert len(case.scope.calls) == 1
    np.testing.assert_array_equal(case.read(stored), case.arrays[str(view.name)].ravel())
    assert case.scope.rows(view) == stored
    assert len(case.scope.calls) == 1


def test_heads_of_a_projection_stored_by_columns_are_free():
    """[F, N] in memory is [heads, width, N]: the transposed keys of attention."""
    case = Case((9, 12))
    columns = case.scope.columns(case.input)
    before = len(case.scope.calls)

    split = case.reshape(case.input, 1, 9, 3, 4)
    keys = case.transpose(split, 0, 2, 3, 1)
    stored = case.scope.rows(keys)

    assert len(case.scope.calls) == before == 1
    assert stored == replace(columns, shape=(1, 3, 4, 9))  # type: ignore[type-var]


def test_columns_of_merged_heads_are_one_transposition():
    case = Case((1, 3, 9, 4))

    rows = case.transpose(case.input, 0, 2, 1, 3)
    merged = case.reshape(rows, 1, 9, 12)
    stored = case.scope.columns(merged)

    assert len(case.scope.calls) == 1
    np.testing.assert_array_equal(case.read(stored), case.arrays[str(merged.name)].reshape(9, 12).T.ravel())


def test_a_reshape_that_cuts_axes_falls_back_to_rows():
    case = Case((4, 6))

    turned = case.transpose(case.input, 1, 0)
    cut = case.reshape(turned, 3, 8)
    stored = case.scope.columns(cut)

    np.testing.assert_array_equal(case.read(stored), case.arrays[str(cut.name)].T.ravel())


@pytest.mark.parametrize("shape", [(1, 12), (12, 1), (1, 1)])
def test_one_row_or_one_column_needs_no_transposition(shape):
    case = Case(shape)

    stored = case.scope.columns(case.input)

    assert case.scope.calls == []
    assert stored.memory == ("x", ROWS)  # type: ignore[union-attr]


def test_other_dtypes_are_transposed_too():
    x = value("x", (3, 5), ir.DataType.INT64)
    scope = Scope([x], HOST)
    array = np.arange(15).reshape(3, 5)

    stored = scope.columns(x)

    results = run_calls(scope.calls, {"x": array})
    np.testing.assert_array_equal(results[key(stored)].ravel(), array.T.ravel())  # type: ignore[union-attr]


def test_reading_what_nobody_wrote_is_a_bug():
    with pytest.raises(InternalError, match="'ghost' is read before it is written"):
        Scope([], HOST).rows(value("ghost", (2, 3)))
