"""Which decisions are near a tie: there another order of rounding may rightly give another result."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from edgesparse.backends.cpu.relax.builder import names

MOVING = names(
    """
    Abs Neg Relu Max Min Identity Dropout Reshape Flatten Squeeze Unsqueeze Transpose Concat Split Slice Tile Pad Expand
    DepthToSpace SpaceToDepth Trilu Gather GatherElements GatherND ScatterND Where ReverseSequence MaxPool GlobalMaxPool
    ReduceMax ReduceMin Clip Sign Ceil Floor Round TopK Hardmax Constant ConstantOfShape EyeLike Shape Size OneHot Not
    IsNaN IsInf BitCast
    """
)
"""Operators that round nothing."""


def keeps_exact(op: str, results: Sequence[np.ndarray]) -> bool:
    """Whether a node of exact inputs has exact outputs: it rounds nothing, or they are integers."""
    return op in MOVING or all(array.dtype.kind in "iub" for array in results)


def decides_near_a_tie(node: onnx.NodeProto, inputs: Sequence[np.ndarray | None]) -> bool:
    """Whether a node with inputs that are not exact turns on a difference which rounding could make."""
    check = _CHECKS.get(node.op_type)
    floats = [array for array in inputs if array is not None and array.dtype.kind == "f"]
    return bool(check is not None and floats and check(node, [a for a in inputs if a is not None]))


def _margin(array: np.ndarray) -> float:
    return 0.05 if array.dtype == np.float16 else 2e-3


def _whole(node: onnx.NodeProto, inputs: Sequence[np.ndarray]) -> bool:
    x = inputs[0].astype(np.float64)
    return bool((np.abs(x - np.round(x)) < _margin(inputs[0])).any())


def _half(node: onnx.NodeProto, inputs: Sequence[np.ndarray]) -> bool:
    x = inputs[0].astype(np.float64)
    return bool((np.abs(x - np.floor(x) - 0.5) < _margin(inputs[0])).any())


def _differences(node: onnx.NodeProto, inputs: Sequence[np.ndarray]) -> bool:
    a, b = inputs[0].astype(np.float64), inputs[1].astype(np.float64)
    return bool((np.abs(a - b) < _margin(inputs[0])).any())


def _remainder(node: onnx.NodeProto, inputs: Sequence[np.ndarray]) -> bool:
    with np.errstate(all="ignore"):
        quotient = inputs[0].astype(np.float64) / inputs[1]
    return bool((np.abs(quotient - np.round(quotient)) < _margin(inputs[0])).any())


def _order(node: onnx.NodeProto, inputs: Sequence[np.ndarray]) -> bool:
    """Any two elements nearly equal, wherever they are."""
    x = np.sort(inputs[0].astype(np.float64).reshape(-1))
    return bool((np.diff(x) < _margin(inputs[0]) / 20).any())


def _zero(node: onnx.NodeProto, inputs: Sequence[np.ndarray]) -> bool:
    return bool((np.abs(inputs[0]) < _margin(inputs[0])).any())


def _quantized(node: onnx.NodeProto, inputs: Sequence[np.ndarray]) -> bool:
    x, scale = inputs[0].astype(np.float64), inputs[1].astype(np.float64)
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    if scale.ndim == 1 and scale.size > 1:
        column = [1] * x.ndim
        column[axis % max(x.ndim, 1)] = -1
        scale = scale.reshape(column)
    y = x / scale
    return bool((np.abs(y - np.floor(y) - 0.5) < 10 * _margin(inputs[0])).any())


def _quantized_by_range(node: onnx.NodeProto, inputs: Sequence[np.ndarray]) -> bool:
    x = inputs[0].astype(np.float64)
    low, high = min(x.min(initial=0.0), 0.0), max(x.max(initial=0.0), 0.0)
    levels = np.append(x, low) * (255 / (high - low or 1.0))
    return bool((np.abs(levels - np.floor(levels) - 0.5) < 10 * _margin(inputs[0])).any())


def _threshold(node: onnx.NodeProto, inputs: Sequence[np.ndarray]) -> bool:
    limits = [a.f for a in node.attribute if a.name in ("alpha", "lambd")] or [1.0, 0.5]
    return any(bool((np.abs(np.abs(inputs[0]) - limit) < _margin(inputs[0])).any()) for limit in limits)


def _always(node: onnx.NodeProto, inputs: Sequence[np.ndarray]) -> bool:
    return True


_CHECKS: dict[str, Callable[[onnx.NodeProto, Sequence[np.ndarray]], bool]] = {
    **dict.fromkeys(("Ceil", "Floor", "Cast", "CastLike"), _whole),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), _differences),
    **dict.fromkeys(("ArgMax", "ArgMin", "TopK", "Hardmax"), _order),
    **dict.fromkeys(("Shrink", "ThresholdedRelu"), _threshold),
    "BitCast": _always,
    "DynamicQuantizeLinear": _quantized_by_range,
    "Mod": _remainder,
    "QuantizeLinear": _quantized,
    "Round": _half,
    "Sign": _zero,
}
