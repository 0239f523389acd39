"""Make every shape static: fix the inputs, infer the rest, and name what cannot be known before a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import _c_api_utils

from edgesparse import reference
from edgesparse.errors import FrontendError, OnnxRuntimeError, first_few
from edgesparse.frontend.fold import GROWING, constant
from edgesparse.frontend.remedies import shape_remedy
from edgesparse.nodes import told

NODES_SHOWN = 5

_INFERENCE = re.compile(r"\(op_type:\w+, node name: (?P<name>.*?)\): \[\w+\] (?P<why>[^\n]*)")

InputShapes = Mapping[str, Sequence[int]]

IMAGE, SEQUENCE = 224, 128
"""Sizes to suggest."""

SAME_SHAPE = ("Not",)
"""Operators whose output has the shape of the input, although onnx has no inference for them."""


MOST = 1 << 31
"""Sizes, distances and scales stay below."""

OPSET = 20
"""The oldest opset the later stages meet; newer models keep theirs."""

POOL_OPSET = 22
"""From here on no window of a pool with ceil_mode starts behind the image, as in ONNX Runtime whatever the opset."""


def fix_inputs(model: ir.Model, input_shapes: InputShapes | None = None) -> None:
    """Give every input of `model` a static shape, in place.

    Args:
        input_shapes: full shapes by input name; a named dimension (such as "batch") that is fixed for one input
            is fixed for all. Batch sizes that nobody fixes become 1: see `assumed_batches`.

    Raises: FrontendError: unknown name, wrong rank, a conflict with a static dimension, unknown rank, or a
        size that nobody fixes and that is no batch size.
    """
    inputs = {value.name or "": value for value in model.graph.inputs}
    input_shapes = dict(input_shapes or {})
    for name in input_shapes:
        if name not in inputs:
            raise FrontendError(f"no input is named {name!r}; the model has {', '.join(map(repr, inputs)) or 'none'}")
    known = named_dimensions(inputs, input_shapes)
    free = {name: value for name, value in inputs.items() if name not in input_shapes}
    known |= dict.fromkeys(_batch_names(free.values()) - known.keys(), 1)
    _require_sizes(free, known)
    for name, value in inputs.items():
        if isinstance(value.type, ir.TensorType):
            value.shape = ir.Shape(_static(value, input_shapes.get(name), known))


def named_dimensions(inputs: Mapping[str, ir.Value], shapes: InputShapes) -> dict[str, int]:
    """The sizes of named dimensions that full shapes of some inputs tell.

    Raises: FrontendError: a shape does not fit its input, or another.
    """
    known: dict[str, int] = {}
    for name, given in shapes.items():
        shape = inputs[name].shape
        if shape is None:
            continue
        if len(shape) != len(given):
            raise FrontendError(
                f"input {name!r} has {len(shape)} dimensions {_text(shape)}; got {len(given)}: {_text(given)}"
            )
        for expected, got in zip(shape, given, strict=True):
            symbol = getattr(expected, "value", expected)
            if isinstance(symbol, int) and symbol != got:
                raise FrontendError(f"input {name!r} has static shape {_text(shape)}; got {_text(given)}")
            if isinstance(symbol, str) and known.setdefault(symbol, got) != got:
                raise FrontendError(f"input {name!r}: dimension {symbol!r} is {known[symbol]} elsewhere; got {got}")
    return known


def give_sizes(values: Iterable[ir.Value], known: Mapping[str, int]) -> None:
    """Put sizes that are known in the place of the names of dimensions."""
    for value in values:
        if value.shape is not None:
            sizes = (getattr(size, "value", size) for size in value.shape)
            value.shape = ir.Shape([known.get(size, size) if isinstance(size, str) else size for size in sizes])


def _static(value: ir.Value, given: Sequence[int] | None, known: Mapping[str, int]) -> tuple[int, ...]:
    if given is not None:
        if min(given, default=1) < 0 or max(given, default=1) >= 1 << 63:
            raise FrontendError(
                f"input {value.name!r}: dimensions must not be negative, nor 2^63 or more; got {_text(given)}"
            )
        return tuple(int(size) for size in given)
    if value.shape is None:
        raise FrontendError(f"input {value.name!r} has no shape in the file; give one with --input-shape")
    return tuple(size if isinstance(size, int) else known.get(str(size.value), 1) for size in value.shape)


def assumed_batches(model: ir.Model, input_shapes: InputShapes | None = None) -> tuple[str, ...]:
    """Inputs whose first size is not known and is taken as 1: the batch size."""
    shapes = input_shapes or {}
    inputs = {value.name or "": value for value in model.graph.inputs if value.name not in model.graph.initializers}
    known = named_dimensions(inputs, {name: shape for name, shape in shapes.items() if name in inputs})
    free = ((name, value.shape) for name, value in inputs.items() if name not in shapes)
    return tuple(name for name, shape in free if shape and _is_unknown(shape[0], known))


def _batch_names(values: Iterable[ir.Value]) -> set[str]:
    """What the unknown first sizes of inputs are called."""
    firsts = (value.shape[0] for value in values if value.shape)
    return {str(size.value) for size in firsts if not isinstance(size, int) and size.value is not None}


def _is_unknown(size: int | ir.SymbolicDim, known: Mapping[str, int]) -> bool:
    return not isinstance(size, int) and str(size.value) not in known


def _require_sizes(values: Mapping[str, ir.Value], known: Mapping[str, int]) -> None:
    """Require every size but the first: nobody wants what a network computes for images of one pixel."""
    missing: dict[str, str] = {}
    given: list[str] = []
    for name, value in values.items():
        unknown = [size for size in (value.shape or ())[1:] if _is_unknown(size, known)]
        if not unknown:
            continue
        missing[name] = ", ".join(dict.fromkeys(str(getattr(size, "value", None) or "?") for size in unknown))
        given.append(f"--input-shape {name}={','.join(map(str, _likely(value, known)))}")
    if missing:
        first = next(iter(missing))
        others = f" (and {', '.join(map(repr, list(missing)[1:]))})" if len(missing) > 1 else ""
        raise FrontendError(f"input {first!r}{others} has dynamic sizes {missing[first]}; give {' '.join(given)}")


def _likely(value: ir.Value, known: Mapping[str, int]) -> list[int]:
    """A shape to suggest: images of 224 pixels, sequences of 128 elements."""
    shape = value.shape or ()
    usual = IMAGE if len(shape) >= 4 and value.dtype is not None and value.dtype.is_floating_point() else SEQUENCE
    sizes = [size if isinstance(size, int) else known.get(str(size.value), usual) for size in shape]
    return [1 if _is_unknown(size, known) and not at else sizes[at] for at, size in enumerate(shape)]


def forget_shapes(model: ir.Model, behind: ir.Node | None = None) -> None:
    """Drop every shape that is not an input's or a constant's, from the outputs of `behind` on: they may be others."""
    nodes = list(model.graph)
    for node in nodes[nodes.index(behind) if behind is not None else 0 :]:
        for value in node.outputs:
            value.shape = None


def infer_shapes(model: ir.Model) -> ir.Model:
    """Infer what shapes and types are still missing, by the operators' own definitions, and sizes as ONNX Runtime."""
    _infer(model)
    while (found := _wrongly_shaped(model)) is not None:
        node, shape = found
        forget_shapes(model, behind=node)
        node.outputs[0].shape = ir.Shape(shape)
        _infer(model)
    return model


def _wrongly_shaped(model: ir.Model) -> tuple[ir.Node, tuple[int, ...]] | None:
    """The first node whose shape onnx infers otherwise, or not at all; and the shape it has."""
    for node in model.graph:
        own = _OWN_SHAPES.get(node.op_type) if not node.domain else None
        shape = own(node) if own is not None else None
        if shape is not None and shape != static_shape(node.outputs[0]):
            return node, shape
    return None


def _resized(node: ir.Node) -> tuple[int, ...] | None:
    """The output shape of a Resize by constant scales: float32 products cut off, as ONNX Runtime has them."""
    shape, scales = static_shape(node.inputs[0]), constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if shape is None or scales is None or not np.all((scales > 0) & (scales < MOST)):
        return None
    axes = node.attributes.get_ints("axes", range(len(shape)))
    if len(axes) != scales.size or not all(-len(shape) <= axis < len(shape) for axis in axes):
        return None
    sizes = list(shape)
    for axis, scale in zip(axes, scales.astype(np.float32).ravel(), strict=True):
        sizes[axis] = int(np.float32(sizes[axis]) * scale)
    return tuple(sizes)


def _picked(node: ir.Node) -> tuple[int, ...] | None:
    """The shape of a GatherND of one element, which onnx does not infer."""
    data, indices = (static_shape(value) for value in node.inputs)
    return () if data is not None and indices == (len(data),) else None


_OWN_SHAPES: dict[str, Callable[[ir.Node], tuple[int, ...] | None]] = {"GatherND": _picked, "Resize": _resized}


def _infer(model: ir.Model) -> None:
    version = model.opset_imports.get("", POOL_OPSET)
    if version >= OPSET:
        model.opset_imports[""] = max(version, POOL_OPSET)
    try:
        inferred = _c_api_utils.call_onnx_api(reference.infer_shapes, model)  # without the weights
    except OnnxRuntimeError as err:
        growing = ", ".join(told(node) for node in model.graph if node.op_type in GROWING) or "it"
        raise FrontendError(f"shapes cannot be inferred; {growing} may make too much of little: {err}") from err
    finally:
        if "" in model.opset_imports:
            model.opset_imports[""] = version
    if not isinstance(inferred, str):  # else what is wrong shows where a shape is missing
        _take_shapes(model, ir.from_proto(inferred))
    for node in model.graph:
        if node.op_type in SAME_SHAPE and not node.domain and node.inputs[0] is not None:
            node.outputs[0].shape = node.outputs[0].shape or node.inputs[0].shape


def _take_shapes(model: ir.Model, inferred: ir.Model) -> None:
    """Give the values of `model` the shapes and types that they have in `inferred`."""
    for graph, other in zip(model.graphs(), inferred.graphs(), strict=True):
        found = ir.convenience.create_value_mapping(other)
        for name, value in ir.convenience.create_value_mapping(graph).items():
            other_value = found.get(name)
            if other_value is not None and other_value.shape is not None:
                value.shape = other_value.shape
            if other_value is not None and other_value.dtype is not None:
                value.dtype = other_value.dtype


def is_static(value: ir.Value) -> bool:
    """Whether `value` is a tensor of known dtype and known non-negative dimensions."""
    if value.shape is None or value.dtype is None or not isinstance(value.type, ir.TensorType):
        return False
    return value.dtype != ir.DataType.UNDEFINED and value.shape.is_static()


def shapeless_nodes(model: ir.Model) -> list[ir.Node]:
    """The nodes where shapes stop being known: an output is not static although every input is."""
    return [
        node
        for node in model.graph
        if any(value.name and not is_static(value) for value in node.outputs)
        and all(value is None or is_static(value) for value in node.inputs)
    ]


def require_tensors(model: ir.Model) -> None:
    """Check that `model` works on tensors only.

    Raises: FrontendError: names every input and operator that deals in sequences or optional values.
    """
    culprits = [f"input {value.name!r}" for value in model.graph.inputs if not isinstance(value.type, ir.TensorType)]
    culprits += [
        f"{node.op_type} {node.name or node.outputs[0].name!r}"
        for node in model.graph.all_nodes()
        if not node.domain and any(word in node.op_type for word in ("Sequence", "Optional"))
        if node.op_type != "ReverseSequence"
    ]
    if culprits:
        raise FrontendError(f"sequences and optional values cannot be compiled: {', '.join(culprits)}")


def require_static(model: ir.Model) -> None:
    """Check that every value has a static shape and a dtype.

    Raises: FrontendError: names every node where a shape stops being known.
    """
    culprits = shapeless_nodes(model)
    if not culprits:
        return
    wrong = _inference_error(model)
    if wrong is not None:
        raise FrontendError(wrong)
    listed = first_few(list(map(told, culprits)), NODES_SHOWN)
    raise FrontendError(
        f"output shapes depend on data, so they cannot be planned: {listed}; remedy: {shape_remedy(culprits[0])}"
    )


def _inference_error(model: ir.Model) -> str | None:
    """What is wrong with the first node whose inputs do not fit it, where that is why a shape is not known."""
    wrong = _c_api_utils.call_onnx_api(partial(reference.infer_shapes, strict=True), model)
    found = _INFERENCE.search(wrong) if isinstance(wrong, str) else None
    named = {node.name: node for node in model.graph}
    if found is not None and found["name"] in named:
        return f"{told(named[found['name']])}: {found['why'].strip()}"
    return None


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of `value` as a tuple of ints, or None where it is missing or not static."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(int(size) for size in value.shape)  # type: ignore[arg-type]


def _text(shape: object) -> str:
    return "[" + ", ".join(str(getattr(size, "value", size)) for size in shape) + "]"  # type: ignore[attr-defined]
