"""A small ONNX model under construction, for operators that are written in simpler ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import ArrayLike, DTypeLike

from edgesparse.backends.cpu.tensors import tensor


class Builder:
    """Collects ONNX nodes and initializers of one small model; values are names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._count = 0

    def fresh(self) -> str:
        """A name no other value has."""
        self._count += 1
        return f"t{self._count}"

    def constant(self, array: ArrayLike) -> str:
        """An initializer; a scalar becomes part of the code."""
        name = self.fresh()
        self.initializers.append(onnx.numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def __call__(self, op: str, *inputs: str, **attributes: object) -> str:
        """Add a node with one output."""
        output = self.fresh()
        self.nodes.append(onnx.helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """The same elements in another shape."""
        return self("Reshape", value, self.constant(np.array(shape, np.int64)))

    def slice(self, value: str, axis: int, start: int, end: int) -> str:
        """Elements [start, end) of one axis."""
        return self("Slice", value, *(self.constant(np.array([n], np.int64)) for n in (start, end, axis)))

    def cast(self, value: str, dtype: DTypeLike) -> str:
        """The elements converted."""
        return self("Cast", value, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def shape_of(value: ir.Value | None) -> tuple[int, ...]:
    """The static shape of a value that is there."""
    assert value is not None
    return tensor(value).shape


def dtype_of(value: ir.Value | None) -> np.dtype:
    """The numpy dtype of a value that is there."""
    assert value is not None
    return np.dtype(tensor(value).dtype)


def names(text: str) -> frozenset[str]:
    """The words of `text`."""
    return frozenset(text.split())
