"""Operators with windows, images, products and quantised numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.sweeps.case import Node, Operand
from tests.sweeps.elementwise import attributes
from tests.sweeps.operators import Choice, Levels, Operator
from tests.sweeps.reducing import AXIS, axis_of

IMAGES = (4, 3, 5)
"""Ranks of tensors with one, two and three spatial axes."""

PIXELS = (9, 7, 6)
"""Sizes of the spatial axes."""


def _image(c: Choice, channels: int, batch: int = 2) -> tuple[int, ...]:
    spatial = PIXELS[: c.rank - 2]
    match c.get("sizes", "odd"):
        case "ones":
            batch, spatial = 1, (1,) * len(spatial)
        case "first 1" | "first 0":
            batch = int(c["sizes"][-1])
        case "second 1":
            channels = 1
        case "last 1":
            spatial = (*spatial[:-1], 1)
    return (batch, channels, *spatial)


def _window(c: Choice, kernel: tuple[int, ...]) -> dict[str, Any] | None:
    """The attributes of a window; None where padding that is written out meets another auto_pad."""
    rank = c.rank - 2
    said: dict[str, Any] = {}
    if c.get("strides") is not None:
        said["strides"] = list(c["strides"][:rank])
    if c.get("dilations") is not None:
        said["dilations"] = list(c["dilations"][:rank])
    if c["auto_pad"] is not None:
        said["auto_pad"] = c["auto_pad"]
    if c["pads"] is not None:
        if c["auto_pad"] not in (None, "NOTSET"):
            return None
        said["pads"] = [
            min(pad, size - 1) for pad, size in zip([*c["pads"][:rank]] * 2, kernel[:rank] * 2, strict=True)
        ]
        if c["pads"][0] == 0:
            said["pads"][rank:] = [min(1, size - 1) for size in kernel[:rank]]
    return said


def _pool(c: Choice) -> Node | None:
    kernel = c["kernel"][: c.rank - 2]
    said = _window(c, kernel)
    if said is None:
        return None
    said |= attributes(c, "ceil_mode", "count_include_pad", "storage_order", "p")
    outputs = c.get("outputs", 1)
    return Node([c.data(_image(c, 3))], said | {"kernel_shape": list(kernel)}, outputs=outputs)


def _global_pool(c: Choice) -> Node:
    return Node([c.data(_image(c, 3))], attributes(c, "p"))


def _conv(c: Choice) -> Node | None:
    said = _window(c, c["kernel"])
    groups, shape = c["group"] or 1, _image(c, 4)
    if said is None or shape[1] % groups:
        return None
    kernel = c["kernel"][: c.rank - 2]
    bias = c.data((6 * groups,)) if c["bias"] else None
    weight = c.data((6 * groups, shape[1] // groups, *kernel))
    said |= attributes(c, "group") | ({"kernel_shape": list(kernel)} if c["told"] else {})
    return Node([c.data(shape), weight, bias], said, frozenset(c["constant"]))


def _conv_transpose(c: Choice) -> Node | None:
    said = _window(c, c["kernel"])
    groups, shape, rank = c["group"] or 1, _image(c, 4), c.rank - 2
    if said is None or shape[1] % groups:
        return None
    kernel = c["kernel"][:rank]
    if c["extra"]:
        if c["strides"] is None or c["auto_pad"] is not None:
            return None
        said["output_padding"] = [1] + [0] * (rank - 1)
    if c["output_shape"]:
        if c["pads"] is not None or c["extra"] or c["strides"] is None:
            return None
        said["output_shape"] = [size * stride for size, stride in zip(shape[2:], c["strides"], strict=False)]
    bias = c.data((3 * groups,)) if c["bias"] else None
    said |= attributes(c, "group") | ({"kernel_shape": list(kernel)} if c["told"] else {})
    return Node([c.data(shape), c.data((shape[1], 3, *kernel)), bias], said, frozenset(c["constant"]))


def _resize(c: Choice) -> Node | None:
    shape = _image(c, 3, 1)
    if c.opset < 11:
        scales = np.array([1, 1, *c["scales"][: c.rank - 2]], np.float32)
        said = {"mode": "nearest" if c["mode"] == "cubic" else c["mode"]}
        return Node([c.data(shape), scales], said, frozenset({1}), slack=1) if c["by"] == "scales" else None
    transform = c["transform"]
    if transform == "tf_half_pixel_for_nn" and c.opset > 12:
        return None
    if transform == "half_pixel_symmetric" and c.opset < 19:
        return None
    said = {} if c["mode"] is None else {"mode": c["mode"]}
    said |= {} if transform is None else {"coordinate_transformation_mode": transform}
    said |= {} if c["nearest"] is None else {"nearest_mode": c["nearest"]}
    said |= attributes(c, "exclude_outside", "cubic_coeff_a", "antialias")
    axes = c["axes"]
    if c["by"] == "scales":
        numbers = np.array([1, 1, *c["scales"][: c.rank - 2]], np.float32)
        policy = {}
    else:
        wanted = [int(size * scale) for size, scale in zip(shape[2:], c["scales"], strict=False)]
        numbers, policy = np.array([*shape[:2], *wanted], np.int64), attributes(c, "keep_aspect_ratio_policy")
        if axes == "negative" and policy:  # ONNX Runtime keeps no ratio of axes counted from the end
            return None
    places = list(range(c.rank))
    if axes == "spatial":
        places = list(range(2, c.rank))
    elif axes == "negative":
        places = list(range(2 - c.rank, 0))
    said |= policy | ({} if axes is None else {"axes": places})
    numbers = numbers[places]
    roi = None
    if transform == "tf_crop_and_resize":
        count = len(places) - (c.rank - 2)
        roi = np.array([*[0] * count, *[0.1] * (c.rank - 2), *[1] * count, *[1.2] * (c.rank - 2)], np.float32)
        said |= {"extrapolation_value": 10.0}
    operands: list[Operand] = [c.data(shape), roi, None, None]
    operands[2 if c["by"] == "scales" else 3] = numbers
    if c.opset < 13:  # the inputs are not optional yet
        operands[1] = np.zeros(0, np.float32) if roi is None else roi
        if operands[2] is None:
            operands[2] = np.zeros(0, np.float32)
    return Node(operands, said, frozenset({1, 2, 3}), slack=1)


def _upsample(c: Choice) -> Node:
    scales = [1.0, 1.0, *c["scales"][: c.rank - 2]]
    said = {} if c["mode"] is None else {"mode": c["mode"]}
    if c.opset < 9:
        return Node([c.data(_image(c, 3, 1))], said | {"scales": scales}, slack=1)
    return Node([c.data(_image(c, 3, 1)), np.array(scales, np.float32)], said, frozenset({1}), slack=1)


def _grid_sample(c: Choice) -> Node | None:
    shape, count = _image(c, 3), c.rank - 2
    mode = c["mode"]
    if c.opset < 20 and mode is not None:
        mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    grid = c.rng.uniform(-1.4, 1.4, (shape[0], *(4, 5, 3)[:count], count)).astype(np.float32)
    said = {} if mode is None else {"mode": mode}
    return Node([c.data(shape), grid], said | attributes(c, "padding_mode", "align_corners"))


def _roi_align(c: Choice) -> Node:
    regions = np.array([[0, 0, 6, 6], [2.5, 1, 13, 11], [-1, 3, 4, 20], [3, 3, 3.2, 3.1]], c.dtype)
    said = attributes(
        c,
        *("mode", "coordinate_transformation_mode", "output_height", "output_width", "sampling_ratio", "spatial_scale"),
    )
    return Node([c.data(_image(c, 3)), regions, np.array([0, 1, 1, 0])], said)


def _affine_grid(c: Choice) -> Node:
    count = c["spatial"]
    size = np.array([2, 3, *(4, 5, 6)[:count]], np.int64)
    return Node([c.data((2, count, count + 1)), size], attributes(c, "align_corners"), frozenset({1}))


def _mat_mul(c: Choice) -> Node:
    left, right = c["shapes"]
    return Node([c.data(left), c.data(right)], {}, frozenset(c["constant"]))


_PRODUCTS: Levels = (
    *(((2, 3, 4), (4, 5)), ((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 1, 3, 4), (5, 4, 2))),
    *(((3, 4), (2, 4, 5)), ((1, 4), (4, 1)), ((2, 3, 1), (1, 5))),
)


def _gemm(c: Choice) -> Node | None:
    a, b = ((4, 3) if c["transA"] else (3, 4)), ((5, 4) if c["transB"] else (4, 5))
    third = {"full": (3, 5), "row": (5,), "column": (3, 1), "scalar": (), "none": None, "one": (1, 1)}[c["c"]]
    if third is None and c.opset < 11:
        return None
    said = attributes(c, "transA", "transB", "alpha", "beta")
    return Node([c.data(a), c.data(b), None if third is None else c.data(third)], said, frozenset(c["constant"]))


def _einsum(c: Choice) -> Node:
    shapes = {"i": 3, "j": 4, "k": 5, "b": 2}
    sources = c["equation"].partition("->")[0].split(",")
    return Node([c.data([shapes[i] for i in source]) for source in sources], {"equation": c["equation"]})


def _scales(c: Choice, axis: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[axis],) if c["each"] == "channel" else ()


def _quantize(c: Choice) -> Node | None:
    axis = 1 if c["axis"] is None else axis_of(c)
    if axis is None or (c["each"] == "channel" and (c.opset < 13 or not -c.rank <= axis < c.rank)):
        return None
    x, zero = c.data(), np.dtype(c["kind"])
    shape = _scales(c, axis, x.shape)
    scale = c.data(shape, c.dtype, low=0.05)
    point = None if not c["zero"] else c.rng.integers(0, 9, shape).astype(zero)
    if point is None and zero != np.uint8:
        return None
    said = attributes(c, "axis") if c.opset >= 13 else {}
    return Node([x, scale, point], said, frozenset({1, 2}))


def _dequantize(c: Choice) -> Node | None:
    axis = 1 if c["axis"] is None else axis_of(c)
    if axis is None or (c["each"] == "channel" and (c.opset < 13 or not -c.rank <= axis < c.rank)):
        return None
    x = c.data()
    shape = _scales(c, axis, x.shape)
    point = None if not c["zero"] or c.dtype == np.int32 else c.rng.integers(0, 9, shape).astype(c.dtype)
    said = attributes(c, "axis") if c.opset >= 13 else {}
    return Node([x, c.data(shape, c["kind"], low=0.05), point], said, frozenset({1, 2}))


def _dynamic(c: Choice) -> Node:
    return Node([c.data()], outputs=3)


def _mat_mul_integer(c: Choice) -> Node:
    points = [None, None] if not c["zero"] else [np.array(3, c.dtype), np.array(2, c["kind"])]
    return Node([c.data((2, 3, 4)), c.data((4, 5), c["kind"]), *points], {}, frozenset(c["constant"]) | {2, 3})


def _conv_integer(c: Choice) -> Node | None:
    said = _window(c, c["kernel"])
    if said is None:
        return None
    points = [None, None] if not c["zero"] else [np.array(3, c.dtype), np.array(2, c["kind"])]
    weight = c.data((6, 4, *c["kernel"][: c.rank - 2]), c["kind"])
    return Node([c.data(_image(c, 4)), weight, *points], said, frozenset({1, 2, 3}))


_WINDOW: dict[str, Levels] = {
    "rank": IMAGES,
    "auto_pad": (None, "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"),
    "strides": (None, (2, 2, 1), (3, 1, 2)),
    "pads": (None, (1, 1, 1), (2, 1, 1), (0, 0, 0)),
    "kernel": ((3, 3, 3), (2, 2, 2), (1, 3, 2)),
}
_DILATED: dict[str, Levels] = {**_WINDOW, "dilations": (None, (2, 1, 2))}
_WEIGHTED: dict[str, Levels] = {
    **_DILATED,
    "group": (None, 2, 4),
    "bias": (True, False),
    "told": (True, False),
    "constant": ((1, 2), ()),
}
_TRANSFORMS: Levels = (
    *(None, "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"),
    *("tf_crop_and_resize", "tf_half_pixel_for_nn"),
)
_FACTORS: Levels = ((2.0, 3.0, 1.0), (1.5, 1.7, 2.0), (0.6, 0.5, 1.0), (0.7, 1.4, 1.3), (1.0, 2.0, 0.4))

OPERATORS = [
    Operator(
        "MaxPool", {**_DILATED, "ceil_mode": (None, 0, 1), "storage_order": (None, 0, 1), "outputs": (1, 2)}, _pool
    ),
    Operator("AveragePool", {**_DILATED, "ceil_mode": (None, 0, 1), "count_include_pad": (None, 0, 1)}, _pool),
    Operator("LpPool", {**_DILATED, "ceil_mode": (None, 0, 1), "p": (None, 1, 2, 3)}, _pool),
    *(Operator(f"Global{name}", {"rank": IMAGES}, _global_pool) for name in ("AveragePool", "MaxPool")),
    Operator("GlobalLpPool", {"rank": IMAGES, "p": (None, 1, 2, 3)}, _global_pool),
    Operator("Conv", _WEIGHTED, _conv),
    Operator("ConvTranspose", {**_WEIGHTED, "extra": (False, True), "output_shape": (False, True)}, _conv_transpose),
    Operator(
        "Resize",
        {
            "rank": IMAGES,
            "mode": ("linear", None, "nearest", "cubic"),
            "transform": _TRANSFORMS,
            "nearest": (None, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
            "by": ("scales", "sizes"),
            "scales": _FACTORS,
            "axes": (None, "spatial", "negative"),
            "exclude_outside": (None, 0, 1),
            "cubic_coeff_a": (None, -0.5),
            "antialias": (None, 0, 1),
            "keep_aspect_ratio_policy": (None, "stretch", "not_larger", "not_smaller"),
        },
        _resize,
    ),
    Operator("Upsample", {"rank": IMAGES, "mode": (None, "nearest", "linear"), "scales": _FACTORS[:2]}, _upsample),
    Operator(
        "GridSample",
        {
            "rank": (4, 5),
            "mode": (None, "linear", "nearest", "cubic"),
            "padding_mode": (None, "zeros", "border", "reflection"),
            "align_corners": (None, 0, 1),
        },
        _grid_sample,
    ),
    Operator(
        "RoiAlign",
        {
            "rank": (4,),
            "mode": (None, "avg", "max"),
            "coordinate_transformation_mode": (None, "half_pixel", "output_half_pixel"),
            "output_height": (None, 3),
            "output_width": (None, 2),
            "sampling_ratio": (None, 0, 2, 3),
            "spatial_scale": (None, 0.5, 0.25),
        },
        _roi_align,
    ),
    Operator("AffineGrid", {"spatial": (2, 3), "align_corners": (None, 0, 1)}, _affine_grid),
    Operator("MatMul", {"shapes": _PRODUCTS, "constant": ((1,), (), (0,))}, _mat_mul),
    Operator(
        "Gemm",
        {
            "transA": (None, 0, 1),
            "transB": (None, 0, 1),
            "alpha": (None, 0.5),
            "beta": (None, 0.0, 2.0),
            "c": ("row", "full", "column", "scalar", "none", "one"),
            "constant": ((1, 2), (), (1,), (0, 2)),
        },
        _gemm,
    ),
    Operator(
        "Einsum", {"equation": ("ij,jk->ik", "bij,bjk->bik", "ij->ji", "ij->i", "i,j->ij", "bij,bkj->bik")}, _einsum
    ),
    Operator(
        "QuantizeLinear",
        {
            "rank": (4, 0, 1, 2),
            "axis": (None, *AXIS),
            "each": ("tensor", "channel"),
            "kind": ("uint8", "int8", "int16", "uint16"),
            "zero": (True, False),
        },
        _quantize,
    ),
    Operator(
        "DequantizeLinear",
        {
            "rank": (4, 0, 1, 2),
            "axis": (None, *AXIS),
            "each": ("tensor", "channel"),
            "kind": ("float32", "float16"),
            "zero": (True, False),
        },
        _dequantize,
    ),
    Operator("DynamicQuantizeLinear", {"rank": (2, 1, 4)}, _dynamic),
    Operator(
        "MatMulInteger", {"zero": (True, False), "kind": ("int8", "uint8"), "constant": ((1,), ())}, _mat_mul_integer
    ),
    Operator("ConvInteger", {**_DILATED, "zero": (True, False), "kind": ("int8", "uint8")}, _conv_integer),
]
