"""What a model stores of a constant, wherever it keeps it, and which numbers small integers stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

INTEGERS = ("int8", "uint8", "int16")
"""Types of quantized weights that can be pruned."""


def stored_array(value: ir.Value | None) -> np.ndarray | None:
    """The array behind an initializer, a Constant node's output or a constant ConstantOfShape; else None."""
    if value is None:
        return None
    if value.const_value is not None:
        return value.const_value.numpy()
    node = value.producer()
    if node is None:
        return None
    if node.op_type == "Constant" and "value" in node.attributes:
        return node.attributes["value"].as_tensor().numpy()
    if node.op_type == "ConstantOfShape":
        shape = stored_array(node.inputs[0])
        if shape is None:
            return None
        fill = node.attributes["value"].as_tensor().numpy() if "value" in node.attributes else np.zeros(1, np.float32)
        return np.full(shape, fill.reshape(()))
    return None


@dataclass(frozen=True)
class Integers:
    """How stored integers stand for numbers: (integer - zero) * scale, both of a shape that spreads over the tensor."""

    scale: np.ndarray
    zero: np.ndarray

    def real(self, array: np.ndarray) -> np.ndarray:
        """The numbers of integers, in float32."""
        found: np.ndarray = (array.astype(np.float32) - self.zero) * self.scale
        return found

    def nearest(self, real: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """The integers that are nearest to numbers; those of `real` are the ones that they came from."""
        limits = np.iinfo(dtype)
        rounded = np.rint(real.astype(np.float64) / self.scale) + self.zero
        nearest: np.ndarray = np.clip(rounded, limits.min, limits.max).astype(dtype)
        return nearest


def integers_of(node: ir.Node, scale: int | None, zero: int, array: np.ndarray, axis: int) -> Integers | None:
    """How integers are stored by the inputs of a node that hold the scale and the zero point, along an axis where these
    are several; None where that is not known, or in another way."""
    if array.dtype.name not in INTEGERS or node.attributes.get_int("block_size", 0) > 0:
        return None
    given = [None if at is None or len(node.inputs) <= at else node.inputs[at] for at in (scale, zero)]
    found = [stored_array(value) for value in given]
    if any(value is not None and known is None for value, known in zip(given, found, strict=True)):
        return None
    spread = []
    for known, default in zip(found, (1.0, 0.0), strict=True):
        numbers = np.asarray(default if known is None else known, np.float32)
        if numbers.size > 1:
            if not -array.ndim <= axis < array.ndim or numbers.shape != (array.shape[axis],):
                return None
            numbers = numbers.reshape([-1 if at == axis % array.ndim else 1 for at in range(array.ndim)])
        spread.append(numbers.reshape(()) if numbers.size == 1 else numbers)
    usable = bool((spread[0] > 0).all() and np.isfinite(spread[0]).all())
    return Integers(*spread) if usable else None
