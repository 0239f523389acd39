"""Find the weights of an ONNX model that can hold zeros, and see each as the matrix of y[M, N] = w[M, K] @ x[K, N]."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.sparsity.stored import Integers, integers_of, stored_array

WEIGHT_INPUT = {
    "Conv": 1,
    "ConvTranspose": 1,
    "MatMul": 1,
    "Gemm": 1,
    "ConvInteger": 1,
    "MatMulInteger": 1,
    "QLinearConv": 3,
    "QLinearMatMul": 3,
}
"""Operators that hold weights, and which input is the weight."""

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)

SCALES = {"QLinearConv": (4, 5), "QLinearMatMul": (4, 5), "ConvInteger": (None, 3), "MatMulInteger": (None, 3)}
"""Which inputs are scale and zero point of the weight, of operators that take it quantized; None for a scale of 1."""


@dataclass(frozen=True)
class WeightRef:
    """One layer's constant weight. `shape` is that of the stored tensor; `m` and `k` those of its matrix view."""

    node: str
    op: str
    tensor: str  # name of the initializer, or of the constant node's output, that stores the weight
    dtype: str
    shape: tuple[int, ...]
    m: int
    k: int
    nnz: int
    group: int
    depthwise: bool
    first_conv: bool
    quantized: bool
    macs: int | None  # multiply-accumulates of one run, dense; None where shapes are not known
    view: tuple[int, ...]  # shape under which the layer reads the stored tensor
    layout: str  # how that becomes a matrix: "rows", "columns" or "conv_transpose"
    value: ir.Value = field(repr=False, compare=False)
    source: ir.Node = field(repr=False, compare=False)  # the node of the layer
    at: int = field(repr=False, compare=False)  # which of its inputs is the weight
    integers: Integers | None = field(
        default=None, repr=False, compare=False
    )  # where it is quantized, if that is known

    @property
    def size(self) -> int:
        """Elements of the stored tensor, zeros included."""
        return prod(self.shape)

    @property
    def density(self) -> float:
        """nnz / size, in [0, 1]."""
        return self.nnz / self.size if self.size else 1.0

    @property
    def window(self) -> int:
        """Places of a convolution's window: the inner axis of K; 1 for a product."""
        return prod(self.view[2:]) if "Conv" in self.op else 1

    @property
    def effective_macs(self) -> int | None:
        """Multiply-accumulates with nonzero weights only."""
        return None if self.macs is None else round(self.macs * self.density)

    def array(self) -> np.ndarray:
        """The stored tensor."""
        stored = stored_array(self.value)
        assert stored is not None
        return stored

    def matrix(self) -> np.ndarray:
        """The weight [M, K]; of a quantized one the numbers that it stands for."""
        array = self.array()
        return self.to_matrix(array if self.integers is None else self.integers.real(array))

    def stored(self, matrix: np.ndarray) -> np.ndarray:
        """What the tensor stores for a weight [M, K]: the inverse of `matrix`."""
        array = self.from_matrix(matrix)
        return array if self.integers is None else self.integers.nearest(array, self.array().dtype)

    def to_matrix(self, array: np.ndarray) -> np.ndarray:
        """`array`, shaped like the stored tensor, as a matrix [M, K]."""
        array = array.reshape(self.view)
        if self.layout == "columns":  # [..., K, M]
            return np.swapaxes(array, -1, -2).reshape(self.m, self.k)
        if self.layout == "conv_transpose":  # [K, M / group, window]
            grouped = array.reshape(self.group, array.shape[0] // self.group, array.shape[1], -1)
            return grouped.swapaxes(1, 2).reshape(self.m, self.k)
        return array.reshape(self.m, self.k)

    def from_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """The inverse of `to_matrix`."""
        if self.layout == "columns":
            rows, columns = self.view[-1], self.view[-2]
            return np.swapaxes(matrix.reshape(*self.view[:-2], rows, columns), -1, -2).reshape(self.shape)
        if self.layout == "conv_transpose":
            inputs, outputs = self.view[0] // self.group, self.view[1]
            return matrix.reshape(self.group, outputs, inputs, -1).swapaxes(1, 2).reshape(self.shape)
        return matrix.reshape(self.shape)


def find_weights(model: ir.Model) -> list[WeightRef]:
    """Every layer of `model` with a constant weight, in graph order, branches included.

    A layer is seen through Identity, Transpose, Reshape and DequantizeLinear down to the tensor that stores the weight.
    MACs are known where the model carries shapes.
    """
    refs: list[WeightRef] = []
    first_conv_seen = False
    for node in model.graph.all_nodes():
        ref = _weight_of(node, first_conv=not first_conv_seen)
        if ref is not None:
            refs.append(ref)
        first_conv_seen = first_conv_seen or (node.op_type == "Conv" and not node.domain)
    return refs


def _weight_of(node: ir.Node, *, first_conv: bool) -> WeightRef | None:
    at = WEIGHT_INPUT.get(node.op_type)
    if at is None or node.domain or len(node.inputs) <= at:
        return None
    found = _stored(node.inputs[at])
    if found is None and node.op_type == "MatMul":
        found = _stored(node.inputs[0])
        if found is not None:
            return _describe(node, 0, found, "rows", first_conv=False)
    if found is None:
        return None
    return _describe(node, at, found, _layout(node), first_conv=first_conv and node.op_type == "Conv")


def _layout(node: ir.Node) -> str:
    if node.op_type == "ConvTranspose":
        return "conv_transpose"
    if "Conv" in node.op_type or (node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1):
        return "rows"
    return "columns"


@dataclass(frozen=True)
class _Stored:
    value: ir.Value
    view: tuple[int, ...]
    transposed: bool
    quantized: bool
    integers: Integers | None


def _stored(value: ir.Value | None) -> _Stored | None:
    transposed, quantizing = False, None
    view: tuple[int, ...] | None = None
    while value is not None and (node := value.producer()) is not None:
        if node.op_type == "Reshape" and view is None:
            view = _reshaped(node)
            if view is None:
                return None
        elif node.op_type == "Transpose" and view is None and _swaps_last_two(node):
            transposed = not transposed
        elif node.op_type == "DequantizeLinear":
            quantizing = node
        elif node.op_type != "Identity":
            break
        value = node.inputs[0]
    array = stored_array(value)
    if value is None or array is None:
        return None
    quantized = quantizing is not None or value.dtype not in (*FLOATS, None)
    integers = None
    if quantizing is not None and quantizing.inputs[0] is value:
        integers = integers_of(quantizing, 1, 2, array, quantizing.attributes.get_int("axis", 1))
    return _Stored(value, view or array.shape, transposed, quantized, integers)


def _reshaped(node: ir.Node) -> tuple[int, ...] | None:
    array, shape = stored_array(node.inputs[0]), stored_array(node.inputs[1])
    return None if array is None or shape is None else array.reshape(shape).shape


def _swaps_last_two(node: ir.Node) -> bool:
    perm = node.attributes.get_ints("perm", None)
    if perm is None:
        source = node.inputs[0]
        array = None if source is None else stored_array(source)
        return array is not None and array.ndim == 2
    rest = list(range(len(perm)))
    return list(perm) == [*rest[:-2], *reversed(rest[-2:])]


def _describe(node: ir.Node, at: int, stored: _Stored, layout: str, *, first_conv: bool) -> WeightRef | None:
    array = stored_array(stored.value)
    assert array is not None
    if len(stored.view) < 2:
        return None
    if stored.transposed:
        layout = {"rows": "columns", "columns": "rows"}.get(layout, layout)
    group = node.attributes.get_int("group", 1) if "Conv" in node.op_type else 1
    m, k = _matrix_shape(stored.view, layout, group, conv="Conv" in node.op_type)
    integers = stored.integers
    if node.op_type in SCALES:
        scale, zero = SCALES[node.op_type]
        integers = integers_of(node, scale, zero, array, 0 if "Conv" in node.op_type else array.ndim - 1)
    nonzero = np.count_nonzero(array if integers is None else array != integers.zero)
    return WeightRef(
        node=node.name or node.outputs[0].name or "",
        op=node.op_type,
        tensor=stored.value.name or "",
        dtype=str(array.dtype),
        shape=tuple(array.shape),
        m=m,
        k=k,
        nnz=int(nonzero),
        group=group,
        depthwise=node.op_type in ("Conv", "ConvTranspose") and group > 1 and k == prod(stored.view[2:]),
        first_conv=first_conv,
        quantized=stored.quantized,
        integers=integers,
        macs=_macs(node, array.size, k),
        view=stored.view,
        layout=layout,
        value=stored.value,
        source=node,
        at=at,
    )


def _matrix_shape(shape: tuple[int, ...], layout: str, group: int, *, conv: bool) -> tuple[int, int]:
    if layout == "conv_transpose":
        return shape[1] * group, prod(shape[2:]) * (shape[0] // group)
    if conv:
        return shape[0], prod(shape[1:])
    if layout == "columns":
        return prod(shape[:-2]) * shape[-1], shape[-2]
    return prod(shape[:-1]), shape[-1]


def _macs(node: ir.Node, size: int, k: int) -> int | None:
    data, out = _elements(node.inputs[0]), _elements(node.outputs[0])
    if node.op_type == "ConvTranspose":
        channels = node.inputs[0].shape[1] if data and node.inputs[0] and node.inputs[0].shape else None
        return data * size // channels if data and isinstance(channels, int) else None
    return None if out is None else out * k


def _elements(value: ir.Value | None) -> int | None:
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return int(np.prod(value.shape.numpy(), dtype=np.int64))


def readers(value: ir.Value) -> Iterator[ir.Node]:
    """Every node that reads `value`, seen through what `find_weights` sees through."""
    for node in value.consumers():
        if node.op_type in ("Identity", "Transpose", "Reshape", "DequantizeLinear") and node.inputs[0] is value:
            yield from readers(node.outputs[0])
        else:
            yield node
