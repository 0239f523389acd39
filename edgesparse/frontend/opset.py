"""Bring a model to an operator set that knows Gelu, HardSwish and LayerNormalization.

One rule for each operator whose form or meaning has changed since opset 7; an operator without a rule means the same
in every version. Where the standard leaves a meaning open, it is that of ONNX Runtime. Rules need no shapes: what
depends on one is written with Shape, and folds away later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import version_converter

from edgesparse.errors import FrontendError
from edgesparse.frontend.fold import add_constant, constant
from edgesparse.frontend.functions import inline_functions
from edgesparse.frontend.shapes import OPSET, forget_shapes, infer_shapes, static_shape
from edgesparse.graph.provenance import derived

BROADCAST_OPSET = 7
"""From here on operators broadcast as numpy does and our rules begin; onnx converts what is older, all but PRelu."""

Apply = Callable[[ir.Node], None]


@dataclass(frozen=True)
class Rule:
    """Rewrites a node of an opset older than `below` to its form in `below`, in place."""

    below: int
    apply: Apply


def convert_opset(model: ir.Model) -> None:
    """Bring `model` and its functions to opset 20 or newer, in place.

    Raises: FrontendError: newer versions cannot say what a node means, or onnx knows no way from before opset 7.
    """
    if model.opset_imports.get("", OPSET) < OPSET:
        infer_shapes(model)
        _raise_to_broadcasting(model)
        _convert(model.graph.all_nodes(), model.opset_imports)
        forget_shapes(model)  # older versions of an operator may have had others
    for function in model.functions.values():
        _convert(function.all_nodes(), function.opset_imports)


def in_recent_opset(model: ir.Model) -> ir.Model:
    """A copy of `model` in opset 20 or newer, without functions, constants as initializers; values keep their names.

    Raises: FrontendError: as `convert_opset`.
    """
    copy = model.clone()
    convert_opset(copy)
    copy = inline_functions(copy)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    return copy


def _convert(nodes: Iterable[ir.Node], imports: MutableMapping[str, int]) -> None:
    version = imports.get("", OPSET)
    if version >= OPSET:
        return
    for node in list(nodes):
        if node.domain:
            continue
        node.version = None
        for rule in RULES.get(node.op_type, ()):
            if version < rule.below:
                rule.apply(node)
    imports[""] = OPSET


def _raise_to_broadcasting(model: ir.Model) -> None:
    version = model.opset_imports[""]
    if version >= BROADCAST_OPSET:
        return
    shapes = [static_shape(value) for value in model.graph.inputs]
    _align_slopes(model)
    with suppress(Exception):  # several converters with exceptions of their own; what they leave is told below
        version_converter.convert_version(model, BROADCAST_OPSET, fallback=True)
    kept = shapes == [static_shape(value) for value in model.graph.inputs]
    if not kept or model.opset_imports.get("", 0) < BROADCAST_OPSET:
        raise FrontendError(f"opset {version} cannot be converted; export the model with opset {BROADCAST_OPSET} to 20")


def _align_slopes(model: ir.Model) -> None:
    """PRelu's slope of one value per channel: [C] becomes [C, 1, ...], as broadcasting wants it."""
    for node in list(model.graph):
        if node.op_type != "PRelu" or node.domain:
            continue
        slope, shape = constant(node.inputs[1]), static_shape(node.inputs[0])
        if slope is not None and shape is not None and slope.ndim == 1 and slope.size > 1:
            column = slope.reshape((-1,) + (1,) * (len(shape) - 2))
            slope_value = add_constant(model.graph, column, f"{node.name}_slope", derived("reshaped", node.inputs[1]))
            node.replace_input_with(1, slope_value)


def _before(node: ir.Node, op: str, *inputs: ir.Value | None, **attributes: ir.Attr | object) -> ir.Value:
    """The output of a new operator in front of `node`."""
    step = ir.node(op, inputs, attributes=attributes)  # type: ignore[arg-type]
    node.prepend(step)
    return step.outputs[0]


def _constant(node: ir.Node, array: np.ndarray) -> ir.Value:
    """A constant in front of `node`, where a subgraph may read it too."""
    value = _before(node, "Constant", value=ir.tensor(array))
    value.type, value.shape = ir.TensorType(ir.DataType.from_numpy(array.dtype)), ir.Shape(array.shape)
    return value


def _like(node: ir.Node, number: float, value: ir.Value | None) -> ir.Value:
    """A scalar of the element type of `value`."""
    return _before(node, "CastLike", _constant(node, np.asarray(number, np.float32)), value)


def _become(node: ir.Node, op: str, *inputs: ir.Value | None, **attributes: int | str) -> None:
    """Make `node` another operator with the same outputs."""
    node.op_type = op
    node.attributes.clear()
    for name, value in attributes.items():
        node.attributes[name] = ir.AttrString(name, value) if isinstance(value, str) else ir.AttrInt64(name, value)
    node.resize_inputs(len(inputs))
    for position, operand in enumerate(inputs):
        node.replace_input_with(position, operand)


def _set_input(node: ir.Node, position: int, value: ir.Value) -> None:
    node.resize_inputs(max(position + 1, len(node.inputs)))
    node.replace_input_with(position, value)


def _is_used(value: ir.Value) -> bool:
    return bool(value.name) and (bool(value.uses()) or value.is_graph_output())


def _to_inputs(*names: str, first: int = 1) -> Apply:
    """Attributes that hold lists of integers become inputs from `first` on; one number is a list of one."""

    def apply(node: ir.Node) -> None:
        for position, name in enumerate(names, start=first):
            attribute = node.attributes.pop(name, None)
            if attribute is None:
                continue
            if attribute.is_ref():  # of the function that the node is in
                listed = ir.RefAttr("value_ints", str(attribute.ref_attr_name), ir.AttributeType.INTS)
                _set_input(node, position, _before(node, "Constant", value_ints=listed))
            elif (numbers := np.atleast_1d(np.asarray(attribute.value, np.int64))).size:
                _set_input(node, position, _constant(node, numbers))

    return apply


def _clip_bounds(node: ir.Node) -> None:
    """Clip below 11: bounds are attributes, by default the largest finite float32, which also limits infinities."""
    largest = float(np.finfo(np.float32).max)
    bounds = [node.attributes.get_float(name, limit) for name, limit in (("min", -largest), ("max", largest))]
    x = node.inputs[0]
    _become(node, "Clip", x, *(_like(node, bound, x) for bound in bounds))


def _pad_amounts(node: ir.Node) -> None:
    """Pad below 11: amounts and value are attributes."""
    value = node.attributes.get_float("value", 0.0)
    node.attributes.pop("value", None)
    _to_inputs("pads")(node)
    _set_input(node, 2, _like(node, value, node.inputs[0]))


def _two_dimensional(node: ir.Node) -> None:
    """Softmax, LogSoftmax and Hardmax below 13: over all axes from `axis` on, 1 by default, together."""
    x, axis, op = node.inputs[0], node.attributes.get("axis", ir.AttrInt64("axis", 1)), node.op_type
    if x is not None and x.shape is not None and not axis.is_ref():
        rank = len(x.shape)
        if not -rank <= axis.as_int() < rank:
            raise FrontendError(f"{op} {node.name!r}: axis is {axis.as_int()}, and the input has {rank} dimensions")
        if axis.as_int() in (-1, rank - 1):
            node.attributes["axis"] = ir.AttrInt64("axis", -1)
            return
    rows = _before(node, op, _before(node, "Flatten", x, axis=axis), axis=-1)
    _become(node, "Reshape", rows, _before(node, "Shape", x))


def _split_evenly(node: ir.Node) -> None:
    """Split below 18: the number of equal parts is that of the outputs."""
    if len(node.inputs) < 2 or node.inputs[1] is None:
        node.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(node.outputs))


def _upsample(node: ir.Node) -> None:
    """Upsample, and Resize below 11: places x / scale; "nearest" rounds up where an axis shrinks, else down."""
    x, scales = node.inputs[:2]
    mode = node.attributes.get_string("mode", "nearest")
    fixed = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
    if mode == "nearest":  # an axis grows or shrinks: one step after the other leaves both alone
        one = _constant(node, np.ones(1, np.float32))
        grow, scales = _before(node, "Max", scales, one), _before(node, "Min", scales, one)
        x = _before(node, "Resize", x, None, grow, **fixed, nearest_mode="floor")
        fixed["nearest_mode"] = "ceil"
    _become(node, "Resize", x, None, scales, **fixed)


def _upsample_scales(node: ir.Node) -> None:
    """Upsample below 9: scales are an attribute."""
    scales = np.asarray(node.attributes.pop("scales").value, np.float32)
    _set_input(node, 1, _constant(node, scales))


def _dropout(*, mask_like_data: bool) -> Apply:
    """Dropout below 12: the ratio is an attribute; the mask is false, as ONNX Runtime has it."""

    def apply(node: ir.Node) -> None:
        x = node.inputs[0]
        node.attributes.clear()
        if len(node.outputs) < 2:
            return
        mask = node.outputs[1]
        if _is_used(mask):
            false = _constant(node, np.zeros((), np.bool_))
            nothing = _before(node, "Expand", false, _before(node, "Shape", x))
            name, computed = mask.name, _before(node, "CastLike", nothing, x if mask_like_data else false)
            computed.type, computed.shape = mask.type, mask.shape
            mask.replace_all_uses_with(computed, replace_graph_outputs=True)
            mask.name, computed.name = None, name
        node.resize_outputs(1)

    return apply


def _by_element(node: ir.Node) -> None:
    """BatchNormalization below 9: with spatial=0 every element of a sample has statistics of its own."""
    spatial = node.attributes.pop("spatial", None)
    if spatial is None or spatial.as_int():
        return
    x, scale, bias, mean, variance = node.inputs[:5]
    epsilon = _like(node, node.attributes.get_float("epsilon", 1e-5), x)
    deviation = _before(node, "Sqrt", _before(node, "Add", variance, epsilon))
    normal = _before(node, "Div", _before(node, "Sub", x, mean), deviation)
    _inference_only(node)
    _become(node, "Add", _before(node, "Mul", normal, scale), bias)


def _inference_only(node: ir.Node) -> None:
    """BatchNormalization below 14: more outputs than one are statistics of training."""
    if any(_is_used(value) for value in node.outputs[1:]):
        raise FrontendError(f"{node.op_type} {node.name!r}: is in training mode; export the model for inference")
    node.resize_outputs(1)


def _named(operator: str) -> Apply:
    """The same under another name."""

    def apply(node: ir.Node) -> None:
        node.op_type = operator

    return apply


def _default(name: str, value: str | int) -> Apply:
    """An attribute with another default."""

    def apply(node: ir.Node) -> None:
        attribute = ir.AttrString(name, value) if isinstance(value, str) else ir.AttrInt64(name, value)
        node.attributes.setdefault(name, attribute)

    return apply


def _renamed(name: str, values: dict[str, str]) -> Apply:
    """An attribute whose values have other names."""

    def apply(node: ir.Node) -> None:
        if name in node.attributes and not node.attributes[name].is_ref():
            value = node.attributes[name].as_string()
            node.attributes[name] = ir.AttrString(name, values.get(value, value))

    return apply


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")

RULES: dict[str, tuple[Rule, ...]] = {
    **{f"Reduce{name}": (Rule(18, _to_inputs("axes")),) for name in _REDUCTIONS},
    **dict.fromkeys(("Hardmax", "LogSoftmax", "Softmax"), (Rule(13, _two_dimensional),)),
    **dict.fromkeys(("ReduceSum", "Squeeze", "Unsqueeze"), (Rule(13, _to_inputs("axes")),)),
    "BatchNormalization": (Rule(9, _by_element), Rule(14, _inference_only)),
    "Clip": (Rule(11, _clip_bounds),),
    "DFT": (Rule(20, _default("axis", 1)), Rule(20, _to_inputs("axis", first=2))),
    "Dropout": (Rule(10, _dropout(mask_like_data=True)), Rule(12, _dropout(mask_like_data=False))),
    "GridSample": (Rule(20, _renamed("mode", {"bilinear": "linear", "bicubic": "cubic"})),),
    "Pad": (Rule(11, _pad_amounts),),
    "Resize": (Rule(11, _upsample),),
    "RoiAlign": (Rule(16, _default("coordinate_transformation_mode", "output_half_pixel")),),
    "Scatter": (Rule(11, _named("ScatterElements")),),
    "Slice": (Rule(10, _to_inputs("starts", "ends", "axes")),),
    "Split": (Rule(13, _to_inputs("split")), Rule(18, _split_evenly)),
    "TopK": (Rule(10, _to_inputs("k")),),
    "Upsample": (Rule(9, _upsample_scales), Rule(11, _upsample)),
}
"""By operator; of several rules the older first."""
