"""The window of a Conv or pooling node: its attributes, filled in and brought to two dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgesparse.graph.geometry import Window
from edgesparse.nodes import dtype_of, ints, shape_of
from edgesparse.numerics import COMPUTED

WIDEST = 64  # columns of a window, or of padding beside the image, that loops are written out for


def window_of(node: ir.Node, kernel: Sequence[int]) -> Window | None:
    """Geometry of a node over [batch, channels, spatial...]; 1-D gets height 1.

    None for types that no kernel takes, for more than two spatial axes, or when padding is left to `auto_pad`.
    """
    x, y = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    rank = len(x) - 2
    automatic = node.attributes.get("auto_pad")
    if (
        rank not in (1, 2)
        or dtype_of(node.inputs[0]) not in {numerics.x.name for numerics in COMPUTED}
        or (automatic is not None and automatic.as_string() != "NOTSET")
    ):
        return None

    def pair(values: Sequence[int], missing: int) -> tuple[int, int]:
        return (missing, int(values[0])) if rank == 1 else (int(values[0]), int(values[1]))

    height, width = pair(x[2:], 1)
    out_height, out_width = pair(y[2:], 1)
    return Window(
        batch=x[0],
        channels=x[1],
        height=height,
        width=width,
        kernel=pair(kernel, 1),
        strides=pair(ints(node, "strides", (1,) * rank), 1),
        dilations=pair(ints(node, "dilations", (1,) * rank), 1),
        pads=pair(ints(node, "pads", (0,) * (2 * rank)), 0),
        out_height=out_height,
        out_width=out_width,
    )


def unrolls(window: Window) -> bool:
    """Whether the written-out loops for this window are of reasonable size, and there is something to compute."""
    if min(window.out_height, window.out_width, window.height, window.width) < 1:
        return False
    reach = (window.out_width - 1) * window.strides[1] + (window.kernel[1] - 1) * window.dilations[1] + 1
    return max(window.kernel[1], window.pads[1], reach - window.pads[1] - window.width) <= WIDEST
