"""Element types: each row against numpy, ONNX and TVM, which know the same types by themselves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from tvm import DataType

from edgesparse.devices import targets
from edgesparse.numerics import ELEMENTS, F32, PLAIN, Element, Numerics, element


@pytest.mark.parametrize("row", ELEMENTS.values(), ids=str)
def test_a_row_is_what_others_know_of_the_type(row):
    known = onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.DataType.Value(row.onnx))

    assert known == row.numpy and known.itemsize == row.size_bytes
    assert row.bits == 8 * known.itemsize
    assert DataType(row.name).itemsize == row.size_bytes
    assert element(known) is element(row.name) is row


@pytest.mark.parametrize("row", ELEMENTS.values(), ids=str)
def test_sums_are_kept_in_a_type_that_holds_products(row):
    limits = np.iinfo if row.numpy.kind in "iu" else np.finfo

    assert row.wide.wide is row.wide or row.wide.bits > row.bits
    if row.numpy.kind in "iuf" and row.bits < 32:
        assert float(limits(row.wide.numpy).max) >= 1024 * float(limits(row.numpy).max) ** 2


def test_short_names_are_distinct():
    assert len({str(row) for row in ELEMENTS.values()}) == len(ELEMENTS)


def test_floats_alone_are_compared_with_a_tolerance():
    inexact = {row.name for row in ELEMENTS.values() if row.tolerance.relative or row.tolerance.absolute}

    assert inexact == {"float16", "float32", "float64"}


def test_a_register_holds_as_many_lanes_as_fit():
    target = targets.load("rpi4")

    assert [target.cpu.lanes(element(name)) for name in ("float64", "float32", "float16", "int8")] == [2, 4, 8, 16]


def test_numerics_are_named_by_their_operands():
    assert str(PLAIN) == "f32" and Numerics(F32, F32, F32, F32) == PLAIN
    u8, i8 = element("uint8"), element("int8")
    assert str(Numerics(u8, i8, u8.wide, u8)) == "u8i8" and u8.wide == element("int32")
    assert Numerics.plain(element("float16")).acc is F32


def test_types_without_a_row_are_no_elements():
    with pytest.raises(KeyError):
        element(np.dtype("complex64"))
    assert not isinstance(ELEMENTS.get("bfloat16"), Element)
