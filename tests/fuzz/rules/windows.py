"""Poolings, resizing and sampling."""

from __future__ import annotations

import numpy as np

from tests.fuzz.graph import Graph, Value
from tests.fuzz.rules.elementwise import require
from tests.fuzz.rules.registry import rule


def image(g: Graph, dtype: str, dims: tuple[int, ...] = (1, 2, 3)) -> Value:
    """A value [batch, channels, spatial...]; a spatial size is one now and then."""

    def shape() -> list[int]:
        spatial = g.choose(dims)
        top = {1: 33, 2: 9, 3: 5}[spatial]
        sizes = [1 if g.chance(0.1) else min(g.size(), top) for _ in range(spatial)]
        return [g.choose([1, 1, 2]), g.choose([1, 2, 3, 7, 8]), *sizes]

    return g.operand(dtype, ranks=[2 + d for d in dims], fits=lambda value: value.shape[0] <= 3, otherwise=shape)


def window(
    g: Graph, sizes: tuple[int, ...], *, dilated: bool = True, padded: bool = True
) -> dict[str, list[int] | str]:
    """Attributes of a window that fits inside an image."""
    dims = len(sizes)
    kernel = [int(g.choose([1, 2, 3, 3, 5])) for _ in sizes]
    dilations = [int(g.choose([1, 1, 2])) if dilated else 1 for _ in sizes]
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    found: dict[str, list[int] | str] = {"kernel_shape": kernel}
    if g.chance(0.6):
        found["strides"] = [int(g.choose([1, 2, 3])) for _ in range(dims)]
    if dilated and max(dilations) > 1:
        found["dilations"] = dilations
    if padded and g.chance(0.25):
        found["auto_pad"] = g.choose(["SAME_UPPER", "SAME_LOWER", "VALID"])
        if found["auto_pad"] == "VALID":
            require(all(s > r for s, r in zip(sizes, reach, strict=True)), "the window is larger than the image")
    elif padded and g.chance(0.7):
        pads = [int(g.rng.integers(0, k)) for k in kernel * 2]
        found["pads"] = pads
        total = [s + pads[i] + pads[i + dims] for i, s in enumerate(sizes)]
        require(all(t > r for t, r in zip(total, reach, strict=True)), "the window is larger than the image")
    else:
        require(all(s > r for s, r in zip(sizes, reach, strict=True)), "the window is larger than the image")
    return found


@rule("MaxPool AveragePool LpPool", "window", ranks=(3, 4, 5))
def pool(g: Graph, op: str, dtype: str) -> None:
    x = image(g, dtype)
    dilated = {"MaxPool": 10, "AveragePool": 19, "LpPool": 18}[op] <= g.opset and g.chance(0.5)
    attributes: dict[str, object] = dict(window(g, x.shape[2:], dilated=dilated))
    if g.opset >= {"MaxPool": 10, "AveragePool": 10, "LpPool": 18}[op]:
        attributes["ceil_mode"] = g.choose([0, 1, None])
    if op == "AveragePool":
        attributes["count_include_pad"] = g.choose([0, 1, None])
    if op == "LpPool":
        attributes["p"] = g.choose([1, 2, 3, None])
    outputs = 1
    if op == "MaxPool" and g.opset >= 8:
        outputs = g.choose([1, 1, 2])
        attributes["storage_order"] = g.choose([0, None])
    g.apply(op, x, outputs=outputs, **attributes)


@rule("GlobalAveragePool GlobalMaxPool GlobalLpPool", "window", ranks=(3, 4, 5))
def global_pool(g: Graph, op: str, dtype: str) -> None:
    g.apply(op, image(g, dtype), p=g.choose([1, 2, 3]) if op == "GlobalLpPool" else None)


@rule("Upsample", "window", ranks=(3, 4))
def upsample(g: Graph, op: str, dtype: str) -> None:
    x = image(g, dtype, dims=(2,))
    mode = g.choose(["nearest", "linear"])
    require(mode == "nearest" or np.dtype(dtype).kind == "f", "integers between integers are cut off near a tie")
    scales = [1.0, 1.0, *(float(g.choose([1, 1.5, 2, 2.5, 3])) for _ in range(2))]
    if g.opset < 9:
        g.apply(op, x, mode=mode, scales=scales)
    else:
        g.apply(op, x, g.parameter(scales, "float32"), mode=mode)


@rule("Resize", "window", ranks=(3, 4))
def resize(g: Graph, op: str, dtype: str) -> None:
    x = image(g, dtype, dims=(1, 2))
    dims = x.rank - 2
    mode = g.choose(["nearest", "linear", "linear", "cubic"])
    require(mode != "cubic" or (dims == 2 and g.opset >= 11), "cubic is two-dimensional")
    require(mode == "nearest" or np.dtype(dtype).kind == "f", "integers between integers are cut off near a tie")
    scales = [1.0, 1.0, *(float(g.choose([0.5, 0.6, 1, 1.5, 2, 2.3, 3])) for _ in range(dims))]
    if g.opset < 11:
        g.apply(op, x, g.parameter(scales, "float32"), mode=mode)
        return
    ways = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
    ways += ["half_pixel_symmetric"] if g.opset >= 19 else []
    ways += ["tf_half_pixel_for_nn"] if g.opset < 13 and mode == "nearest" else []
    attributes: dict[str, object] = {
        "mode": mode,
        "coordinate_transformation_mode": g.choose([*ways, None]),
        "nearest_mode": g.choose(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil", None]),
        "exclude_outside": g.choose([0, 1, None]) if mode == "cubic" else None,
        "cubic_coeff_a": g.choose([-0.5, None]) if mode == "cubic" else None,
        "antialias": 1 if g.opset >= 18 and mode != "nearest" and g.chance(0.15) else None,
    }
    roi = None if g.opset >= 13 else g.parameter(np.zeros(0, np.float32))
    if g.chance(0.5):
        sizes = [*x.shape[:2], *(int(g.choose([1, 2, 3, 5, 7, 8])) for _ in range(dims))]
        nothing = None if g.opset >= 13 else g.parameter(np.zeros(0, np.float32))
        g.apply(op, x, roi, nothing, g.parameter(sizes, "int64"), **attributes)
    else:
        require(all(int(s * f) >= 1 for s, f in zip(x.shape, scales, strict=True)), "nothing is left")
        g.apply(op, x, roi, g.parameter(scales, "float32"), **attributes)


@rule("AffineGrid", "window", ranks=(3,))
def affine_grid(g: Graph, op: str, dtype: str) -> None:
    batch, dims = g.choose([1, 2]), g.choose([2, 2, 3])
    sizes = [batch, 2, *(int(g.choose([1, 3, 5])) for _ in range(dims))]
    theta = g.operand(dtype, (batch, dims, dims + 1))
    g.apply(op, theta, g.parameter(sizes, "int64"), align_corners=g.choose([0, 1, None]))


@rule("GridSample", "window", ranks=(4,))
def grid_sample(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, (g.choose([1, 2]), g.choose([1, 3]), g.choose([1, 4, 5]), g.choose([1, 3, 7])))
    grid = g.new(dtype, (x.shape[0], g.choose([1, 3]), g.choose([2, 5]), 2), (-1.2, 1.2))
    old = ["bilinear", "nearest", "bicubic"]
    mode = g.choose([*(old if g.opset < 20 else ["linear", "nearest", "cubic"]), None])
    padding = g.choose(["zeros", "border", "reflection", None])
    g.apply(op, x, grid, mode=mode, padding_mode=padding, align_corners=g.choose([0, 1, None]))


@rule("RoiAlign", "window", ranks=(4,))
def roi_align(g: Graph, op: str, dtype: str) -> None:
    x = g.operand(dtype, (g.choose([1, 2]), g.choose([1, 3]), g.choose([5, 8]), g.choose([5, 9])))
    count = g.choose([1, 3])
    corners = np.sort(g.rng.uniform(0, 8, (count, 2, 2)), axis=1).reshape(count, 4).astype(dtype)
    batch = g.rng.integers(0, x.shape[0], count)
    which = g.input(batch.astype(np.int64))
    bad = which.array.copy()
    bad[0] = g.choose([x.shape[0], -1, 2**40])
    g.twins.append((which.name, bad))
    way = g.choose(["half_pixel", "output_half_pixel", None]) if g.opset >= 16 else None
    g.apply(
        op,
        x,
        g.input(corners) if g.chance(0.6) else g.constant(corners),
        which,
        coordinate_transformation_mode=way,
        output_height=g.choose([1, 2, 3]),
        output_width=g.choose([1, 2, 5]),
        sampling_ratio=g.choose([0, 1, 2, None]),
        spatial_scale=g.choose([1.0, 0.5, 0.25]),
    )
