"""Check that attributes have values for which their operators are defined: onnx takes any of the right type."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_ir as ir

from edgesparse.errors import FrontendError
from edgesparse.frontend.shapes import MOST, static_shape
from edgesparse.nodes import told

_POOLS = ("AveragePool", "LpPool", "MaxPool")
_WEIGHTED = ("Conv", "ConvInteger", "ConvTranspose", "QLinearConv")

WORDS: dict[tuple[str, str], str] = {
    **{(op, "auto_pad"): "NOTSET SAME_LOWER SAME_UPPER VALID" for op in (*_POOLS, *_WEIGHTED)},
    **{(op, "direction"): "bidirectional forward reverse" for op in ("GRU", "LSTM", "RNN")},
    **{(op, "reduction"): "add max min mul none" for op in ("ScatterElements", "ScatterND")},
    ("BitShift", "direction"): "LEFT RIGHT",
    ("DepthToSpace", "mode"): "CRD DCR",
    ("Gelu", "approximate"): "none tanh",
    ("GridSample", "mode"): "bicubic bilinear cubic linear nearest",
    ("GridSample", "padding_mode"): "border reflection zeros",
    ("Pad", "mode"): "constant edge reflect wrap",
    ("Resize", "coordinate_transformation_mode"): (
        "align_corners asymmetric half_pixel half_pixel_symmetric pytorch_half_pixel tf_crop_and_resize "
        "tf_half_pixel_for_nn"
    ),
    ("Resize", "keep_aspect_ratio_policy"): "not_larger not_smaller stretch",
    ("Resize", "mode"): "cubic linear nearest",
    ("Resize", "nearest_mode"): "ceil floor round_prefer_ceil round_prefer_floor",
    ("RoiAlign", "coordinate_transformation_mode"): "half_pixel output_half_pixel",
    ("RoiAlign", "mode"): "avg max",
}
"""The values of attributes that are words, by operator and attribute."""


def require_defined(model: ir.Model) -> None:
    """Check every node of a model whose shapes are inferred.

    Raises: FrontendError: an attribute of one has a value that means nothing, or makes a size negative.
    """
    for node in model.graph.all_nodes():
        if node.domain in ("", "ai.onnx"):
            for problem in _problems(node):
                raise FrontendError(f"{told(node)}: {problem}")


def _problems(node: ir.Node) -> Iterator[str]:
    for name, attribute in node.attributes.items():
        words = WORDS.get((node.op_type, name), "").split()
        if words and attribute.value not in words:
            yield f"{name} is {attribute.value!r}, expected one of {', '.join(words)}"
    rule = _RULES.get(node.op_type)
    shape = static_shape(node.inputs[0]) if node.inputs else None
    if rule is not None and shape is not None:
        yield from rule(node, shape)
    for value in node.outputs:
        sizes = static_shape(value) or ()
        if min(sizes, default=0) < 0:
            yield f"output {value.name!r} would have the shape {list(sizes)}, expected sizes of 0 and above"


def window_problems(node: ir.Node, kernel: tuple[int, ...]) -> Iterator[str]:
    """What is wrong with how a window is moved over an image."""
    rank = len(kernel)
    counts = {"kernel_shape": rank, "strides": rank, "dilations": rank, "pads": 2 * rank, "output_padding": rank}
    for name, count in counts.items():
        values = tuple(node.attributes.get_ints(name, [1] * count))
        least = 0 if name in ("pads", "output_padding") else 1
        if len(values) != count or not all(least <= value < MOST for value in values):
            yield f"{name} is {list(values)}, expected {count} numbers of {least} or more"


def reach_problems(node: ir.Node, image: tuple[int, ...], kernel: tuple[int, ...]) -> Iterator[str]:
    """Where a dilated window does not fit into the padded image; with ceil_mode the last one may reach beyond it."""
    rank, get = len(kernel), node.attributes
    auto = get.get_string("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        return
    pads = get.get_ints("pads", (0,) * 2 * rank) if auto == "NOTSET" else (0,) * 2 * rank
    strides, dilations = get.get_ints("strides", (1,) * rank), get.get_ints("dilations", (1,) * rank)
    for at, size in enumerate(image):
        padded, span = size + pads[at] + pads[at + rank], (kernel[at] - 1) * dilations[at] + 1
        if padded + (strides[at] - 1 if get.get_int("ceil_mode", 0) else 0) < span:
            yield f"a window of {span} does not fit into the {padded} of axis {at + 2}, padding included"


def _pool(node: ir.Node, shape: tuple[int, ...]) -> Iterator[str]:
    if len(shape) < 3:
        yield f"the input has {len(shape)} dimensions, expected 3 or more"
    rank = len(shape) - 2
    kernel = tuple(node.attributes.get_ints("kernel_shape", ()))
    yield from window_problems(node, (1,) * rank)
    pads = tuple(node.attributes.get_ints("pads", ()))
    if any(pad >= size for pad, size in zip(pads, kernel * 2, strict=False)):
        yield f"pads are {list(pads)}, expected less than the window {list(kernel)}"
    yield from reach_problems(node, shape[2:], kernel)
    yield from _at_least("p", 1, 2)(node, shape)


def size_problems(node: ir.Node, shape: tuple[int, ...]) -> Iterator[str]:
    """What is wrong with the output_shape of a transposed convolution."""
    sizes, rank = list(node.attributes.get_ints("output_shape", ())), len(shape) - 2
    if sizes and (len(sizes) not in (rank, rank + 2) or not all(0 < size < MOST for size in sizes)):
        yield f"output_shape is {sizes}, expected {rank} sizes of 1 or more"


def _permutation(node: ir.Node, shape: tuple[int, ...]) -> Iterator[str]:
    perm = list(node.attributes.get_ints("perm", range(len(shape))))
    if sorted(perm) != list(range(len(shape))):
        yield f"perm is {perm}, expected each of 0 to {len(shape) - 1} once"


def _blocks(node: ir.Node, shape: tuple[int, ...]) -> Iterator[str]:
    size = node.attributes.get_int("blocksize", 0)
    if len(shape) != 4 or size < 1:
        yield f"blocksize is {size} and the input has {len(shape)} dimensions, expected 1 or more, and 4"
    elif any(extent % part for extent, part in _parted(node.op_type, shape, size)):
        yield f"the input {list(shape)} does not divide into blocks of {size}"


def _parted(op: str, shape: tuple[int, ...], size: int) -> list[tuple[int, int]]:
    return [(shape[1], size * size)] if op == "DepthToSpace" else [(shape[2], size), (shape[3], size)]


def _channel_groups(node: ir.Node, shape: tuple[int, ...]) -> Iterator[str]:
    groups = node.attributes.get_int("num_groups", 0)
    if groups < 1 or len(shape) < 2 or shape[1] % groups:
        yield f"num_groups is {groups}, expected a divisor of the channels of {list(shape)}"


def _at_least(name: str, least: int, default: int) -> Callable[[ir.Node, tuple[int, ...]], Iterator[str]]:
    def rule(node: ir.Node, _: tuple[int, ...]) -> Iterator[str]:
        value = node.attributes.get_int(name, default)
        if not least <= value < MOST:
            yield f"{name} is {value}, expected {least} or more"

    return rule


_RULES: dict[str, Callable[[ir.Node, tuple[int, ...]], Iterator[str]]] = {
    **dict.fromkeys(_POOLS, _pool),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _blocks),
    **dict.fromkeys(("GlobalLpPool",), _at_least("p", 1, 2)),
    "ConvTranspose": size_problems,
    "GroupNormalization": _channel_groups,
    "LRN": _at_least("size", 1, 0),
    "Transpose": _permutation,
}
