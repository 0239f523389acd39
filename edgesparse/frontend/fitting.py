"""Check that the operands of weighted operators fit each other, where onnx infers a shape whatever they are."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from edgesparse.errors import FrontendError
from edgesparse.frontend.shapes import static_shape
from edgesparse.nodes import told

Shape = tuple[int, ...]
Rule = Callable[[ir.Node, list[Shape | None]], str | None]
"""What is wrong with a node, by the shapes of its operands; None where nothing is, or a shape is not known."""

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def require_fitting(model: ir.Model) -> None:
    """Check every node of a model.

    Raises: FrontendError: the operands of one do not fit each other; with their shapes.
    """
    for node in model.graph.all_nodes():
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        problem = rule(node, [static_shape(value) for value in node.inputs]) if rule is not None else None
        if problem is not None:
            raise FrontendError(f"{told(node)}: {problem}")


def _convolution(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    at = (0, 3, 8) if node.op_type == "QLinearConv" else (0, 1, None if node.op_type == "ConvInteger" else 2)
    x, w, bias = (shapes[i] if i is not None and i < len(shapes) else None for i in at)
    if x is None or w is None:
        return None
    group = node.attributes.get_int("group", 1)
    if len(x) < 3 or len(w) != len(x):
        return f"the input has {len(x)} dimensions and the weights {len(w)}, expected as many, 3 or more"
    if group < 1:
        return f"group is {group}, expected 1 or more"
    if node.op_type == "ConvTranspose":
        taken, made, rows = w[0], w[1] * group, w[0]
    else:
        taken, made, rows = w[1] * group, w[0], w[0]
    if x[1] != taken:
        groups = f" in {group} groups" if group > 1 else ""
        return f"the input has {x[1]} channels, the weights take {taken}{groups}"
    if rows % group:
        return f"{rows} channels of the weights do not divide into {group} groups"
    if bias is not None and bias != (made,):
        return f"the bias has the shape {list(bias)}, expected [{made}]"
    return _window(node, w[2:])


def _window(node: ir.Node, window: Shape) -> str | None:
    """What is wrong with the attributes of a convolution."""
    rank = len(window)
    kernel = tuple(node.attributes.get_ints("kernel_shape", window))
    if kernel != window or not all(window):
        return f"kernel_shape is {list(kernel)}, and the weights have the window {list(window)}"
    for name, count in (("strides", rank), ("dilations", rank), ("pads", 2 * rank), ("output_padding", rank)):
        values = tuple(node.attributes.get_ints(name, [1] * count))
        least = 0 if name in ("pads", "output_padding") else 1
        if len(values) != count or not all(least <= value < 1 << 31 for value in values):
            return f"{name} is {list(values)}, expected {count} numbers of {least} or more"
    return None


def _channels(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """One parameter a channel, as many as the input has."""
    x = shapes[0]
    if x is None:
        return None
    channels = x[1] if len(x) > 1 else 1
    wrong = [shape for shape in shapes[1:] if shape is not None and shape != (channels,)]
    return f"a parameter has the shape {list(wrong[0])}, expected [{channels}], one a channel" if wrong else None


def _normalized(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """Scale and bias fit the dimensions from `axis` on."""
    x = shapes[0]
    if x is None:
        return None
    axis = node.attributes.get_int("axis", -1)
    if not -len(x) <= axis < len(x):
        return f"axis is {axis}, and the input has {len(x)} dimensions"
    wrong = [shape for shape in shapes[1:] if shape is not None and not _broadcasts(shape, x)]
    return f"a parameter has the shape {list(wrong[0])}, and the input {list(x)}" if wrong else None


def _slope(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    x, slope = shapes[:2]
    if x is None or slope is None or _broadcasts(slope, x):
        return None
    return f"the slope has the shape {list(slope)}, and the input {list(x)}"


def _added(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """What Gemm adds fits its product."""
    result, c = static_shape(node.outputs[0]), shapes[2] if len(shapes) > 2 else None
    if result is None or c is None or _broadcasts(c, result):
        return None
    return f"what is added has the shape {list(c)}, and the product {list(result)}"


def _recurrent(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    x, w, r = shapes[:3]
    if x is None or w is None or r is None:
        return None
    if not len(x) == len(w) == len(r) == 3:
        return f"the input and the weights have {len(x)}, {len(w)} and {len(r)} dimensions, expected 3 each"
    directions = 2 if node.attributes.get_string("direction", "forward") == "bidirectional" else 1
    hidden = r[2]
    rows = GATES[node.op_type] * hidden
    bias, peephole = ((*shapes, *[None] * 8)[at] for at in (3, 7))
    expected = [(w, (directions, rows, x[2])), (r, (directions, rows, hidden)), (bias, (directions, 2 * rows))]
    expected += [(peephole, (directions, 3 * hidden))] if node.op_type == "LSTM" else []
    for got, right in expected:
        if got is not None and got != right:
            return f"weights have the shape {list(got)}, expected {list(right)}"
    if node.attributes.get_int("hidden_size", hidden) != hidden:
        return f"hidden_size is {node.attributes.get_int('hidden_size', 0)}, and the weights have {hidden}"
    return None


def _broadcasts(shape: Shape, to: Shape) -> bool:
    """Whether `shape` can be repeated to `to`."""
    padded = (1,) * (len(to) - len(shape)) + shape
    return len(padded) == len(to) and all(size in (1, full) for size, full in zip(padded, to, strict=True))


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Conv", "ConvInteger", "ConvTranspose", "QLinearConv"), _convolution),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), _channels),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _normalized),
    **dict.fromkeys(GATES, _recurrent),
    "Gemm": _added,
    "PRelu": _slope,
}
