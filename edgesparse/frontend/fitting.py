"""Check that the operands of a node fit each other, where onnx infers a shape whatever they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.errors import FrontendError
from edgesparse.frontend.attributes import reach_problems, window_problems
from edgesparse.frontend.shapes import static_shape
from edgesparse.nodes import constant, padding, told

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
    return next(_window(node, x[2:], w[2:]), None)


def _window(node: ir.Node, image: Shape, window: Shape) -> Iterator[str]:
    """What is wrong with the attributes of a convolution."""
    kernel = tuple(node.attributes.get_ints("kernel_shape", window))
    if kernel != window or not all(window):
        yield f"kernel_shape is {list(kernel)}, and the weights have the window {list(window)}"
    yield from window_problems(node, window)
    if node.op_type != "ConvTranspose":
        yield from reach_problems(node, image, window)


def _channels(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """One parameter for each channel of the input."""
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


def _product(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """Gemm takes two matrices, and what it adds fits their product."""
    if any(shape is not None and len(shape) != 2 for shape in shapes[:2]):
        return f"the factors have the shapes {shapes[0]} and {shapes[1]}, expected two dimensions each"
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
    batched = node.attributes.get_int("layout", 0)
    batch = x[0] if batched else x[1]
    state = (batch, directions, hidden) if batched else (directions, batch, hidden)
    lengths, first, cell = ((*shapes, *[None] * 8)[at] for at in (4, 5, 6))
    expected += [(lengths, (batch,)), (first, state), (cell, state)]
    for got, right in expected:
        if got is not None and got != right:
            return f"an operand has the shape {list(got)}, expected {list(right)}"
    if node.attributes.get_int("hidden_size", hidden) != hidden:
        return f"hidden_size is {node.attributes.get_int('hidden_size', 0)}, and the weights have {hidden}"
    return None


def _reshaped(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    result = static_shape(node.outputs[0])
    if shapes[0] is None or result is None or prod(shapes[0]) == prod(result):
        return None
    return f"the input has {prod(shapes[0])} elements, and the shape {list(result)} has {prod(result)}"


def _gathered(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """GatherElements: along every axis but its own, there are no more indices than data."""
    data, places = shapes[:2]
    if data is None or places is None or _lies_beside(places, data, node.attributes.get_int("axis", 0)):
        return None
    return f"indices {list(places)} do not fit data {list(data)}"


def _lies_beside(places: Shape, data: Shape, axis: int) -> bool:
    """Whether indices along an axis are within the data along every other."""
    beside = (at for at in range(len(data)) if at != axis % max(1, len(data)))
    return len(places) == len(data) and all(places[at] <= data[at] for at in beside)


def _scattered(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """One update for every index, and along every axis but the operator's, no more of them than data."""
    data, places, updates = shapes[:3]
    if data is None or places is None or updates is None:
        return None
    if node.op_type == "ScatterND":
        depth = places[-1] if places else 0
        expected = (*places[:-1], *data[depth:])
        fits = depth <= len(data)
    else:
        expected = places
        fits = _lies_beside(places, data, node.attributes.get_int("axis", 0))
    if fits and updates == expected:
        return None
    return f"indices {list(places)} and updates {list(updates)} do not fit data {list(data)}"


def _reversed(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """A length for every sequence of the batch."""
    x, lengths = shapes[:2]
    if x is None or lengths is None:
        return None
    time, batch = node.attributes.get_int("time_axis", 0), node.attributes.get_int("batch_axis", 1)
    if {time, batch} != {0, 1} or len(x) < 2:
        return f"time_axis is {time} and batch_axis {batch}, expected 0 and 1 or 1 and 0"
    return None if lengths == (x[batch],) else f"lengths have the shape {list(lengths)}, expected [{x[batch]}]"


def _rotated(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """A position for every step of every sequence, and half a rotation for each."""
    x, cosines, sines, positions = (*shapes, None)[:4]
    if x is None or cosines is None:
        return None
    batch, steps = x[0], x[-2] if len(x) == 4 else x[1]
    expected = (batch, steps)
    if sines is not None and sines != cosines:
        return f"cosines have the shape {list(cosines)} and sines {list(sines)}, expected the same"
    if positions is not None:
        fits = positions == expected
        return None if fits else f"positions have the shape {list(positions)}, expected [{batch}, {steps}]"
    if len(cosines) == 3 and cosines[:2] != expected:
        return f"cosines have the shape {list(cosines)}, expected [{batch}, {steps}, ...]"
    return None


def _quantized(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """One scale in all, one for each index of the axis, or one for each block; and as many zero points."""
    x, scale, zero = (*shapes, None)[:3]
    if x is None or scale is None:
        return None
    if zero is not None and zero != scale and not prod(zero) == prod(scale) == 1:
        return f"scales have the shape {list(scale)} and zero points {list(zero)}, expected the same"
    axis, block = node.attributes.get_int("axis", 1), node.attributes.get_int("block_size", 0)
    if block:
        return _blocked(x, scale, axis, block)
    if prod(scale) == 1 or (len(scale) == 1 and -len(x) <= axis < len(x) and scale[0] == x[axis]):
        return None
    return f"scales have the shape {list(scale)}, expected one, or one for each index of axis {axis} of {list(x)}"


def _blocked(x: Shape, scale: Shape, axis: int, block: int) -> str | None:
    """One scale for each block along an axis; the last block may be short."""
    if not -len(x) <= axis < len(x) or block < 0:
        return f"axis is {axis} and block_size {block}, expected an axis of {list(x)} and blocks of 1 or more"
    expected = [-(-size // block) if at == axis % len(x) else size for at, size in enumerate(x)]
    if list(scale) == expected:
        return None
    shape = f"scales have the shape {list(scale)}, expected {expected}"
    return f"{shape} for blocks of {block} along axis {axis} of {list(x)}"


def _offset(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """One zero point for all inputs, and one for all weights or one a channel."""
    x, w, of_x, of_w = (*shapes, None, None)[:4]
    if x is None or w is None or not x or not w:
        return None
    product = node.op_type == "MatMulInteger"
    rows, columns = (x[-2:-1], w[-1:]) if product else ((), w[:1])
    for zero, many, what in ((of_x, rows, "inputs"), (of_w, columns, "weights")):
        if zero is not None and prod(zero) != 1 and (not product or len(zero) == 1) and zero != many:
            return f"zero points of the {what} have the shape {list(zero)}, expected one, or {list(many)}"
    return None


def _summed(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """CumSum runs along an axis of its input."""
    axis = constant(node.inputs[1])
    if shapes[0] is None or axis is None or axis.size != 1 or -len(shapes[0]) <= axis.item() < len(shapes[0]):
        return None
    return f"the axis is {axis.item()}, and the input has {len(shapes[0])} dimensions"


def _resized(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """Scales are positive numbers, and sizes at least 0."""
    for at, least in ((2, np.nextafter(0.0, 1.0)), (3, 0.0)):
        given = constant(node.inputs[at]) if len(node.inputs) > at else None
        if given is not None and not np.all((given >= least) & (given < np.inf)):
            return f"{'scales' if at == 2 else 'sizes'} are {given.tolist()}, expected numbers above 0"
    return None


def _split(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    sizes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if sizes is None or (sizes >= 0).all():
        return None
    return f"the sizes are {sizes.tolist()}, expected 0 or more"


def _padded(node: ir.Node, shapes: list[Shape | None]) -> str | None:
    """Padding that repeats or mirrors the tensor has something to repeat, once negative pads have cropped it."""
    mode = node.attributes.get_string("mode", "constant")
    if mode == "constant" or shapes[0] is None or (found := padding(node, len(shapes[0]))) is None:
        return None
    pads, axes = found
    for axis, amounts in zip(axes, pads.T, strict=True):
        size = shapes[0][axis] + int(np.minimum(amounts, 0).sum())
        least = 1 + int(amounts.max()) if mode == "reflect" else 1
        if amounts.max() > 0 and size < least:
            return f"{mode} of {amounts.max()} elements on axis {axis}, which has {size}; expected at least {least}"
    return None


def _broadcasts(shape: Shape, to: Shape) -> bool:
    """Whether `shape` can be repeated to `to`."""
    padded = (1,) * (len(to) - len(shape)) + shape
    return len(padded) == len(to) and all(size in (1, full) for size, full in zip(padded, to, strict=True))


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "QLinearConv"), _convolution),
    "ConvInteger": lambda node, shapes: _convolution(node, shapes) or _offset(node, shapes),
    "MatMulInteger": _offset,
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization"), _channels),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _normalized),
    **dict.fromkeys(GATES, _recurrent),
    "Gemm": _product,
    "CumSum": _summed,
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), _quantized),
    "GatherElements": _gathered,
    "PRelu": _slope,
    "Pad": _padded,
    "Reshape": _reshaped,
    "Resize": _resized,
    "ReverseSequence": _reversed,
    "RotaryEmbedding": _rotated,
    **dict.fromkeys(("ScatterElements", "ScatterND"), _scattered),
    "Split": _split,
}
