"""Make every shape static: fix the inputs, infer the rest, and name what cannot be known before a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgesparse.errors import FrontendError

InputShapes = Mapping[str, Sequence[int]]
Bindings = Mapping[str, np.ndarray]

SAME_SHAPE = ("Not",)
"""Operators whose output has the shape of the input, although onnx has no inference for them."""


OPSET = 20
"""The oldest opset the later stages meet; newer models keep theirs."""

POOL_OPSET = 22
"""From here on no window of a pool with ceil_mode starts behind the image, as in ONNX Runtime whatever the opset."""


def fix_inputs(model: ir.Model, input_shapes: InputShapes | None = None, bind: Bindings | None = None) -> None:
    """Give every input of `model` a static shape, in place.

    Args:
        input_shapes: full shapes by input name; a named dimension (such as "batch") that is fixed for one input
            is fixed for all. Dimensions nobody fixes become 1.
        bind: inputs frozen to constants: they leave the signature.

    Raises: FrontendError: unknown name, wrong rank or dtype, a conflict with a static dimension, or unknown rank.
    """
    graph = model.graph
    inputs = {value.name or "": value for value in graph.inputs}
    input_shapes, bind = dict(input_shapes or {}), dict(bind or {})
    for name in [*input_shapes, *bind]:
        if name not in inputs:
            raise FrontendError(f"no input is named {name!r}; the model has {', '.join(map(repr, inputs)) or 'none'}")
    known = _named_dimensions(inputs, {**input_shapes, **{name: array.shape for name, array in bind.items()}})
    for name, value in inputs.items():
        if name in bind:
            _freeze(graph, value, bind[name])
        elif isinstance(value.type, ir.TensorType):
            value.shape = ir.Shape(_static(value, input_shapes.get(name), known))


def _named_dimensions(inputs: Mapping[str, ir.Value], shapes: InputShapes) -> dict[str, int]:
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


def _static(value: ir.Value, given: Sequence[int] | None, known: Mapping[str, int]) -> tuple[int, ...]:
    if given is not None:
        if min(given, default=1) < 0:
            raise FrontendError(f"input {value.name!r}: dimensions must not be negative; got {_text(given)}")
        return tuple(int(size) for size in given)
    if value.shape is None:
        raise FrontendError(f"input {value.name!r} has no shape in the file; give one with --input-shape")
    return tuple(size if isinstance(size, int) else known.get(str(size.value), 1) for size in value.shape)


def _freeze(graph: ir.Graph, value: ir.Value, array: np.ndarray) -> None:
    tensor = ir.tensor(np.asarray(array), name=value.name)
    if value.dtype is not None and tensor.dtype != value.dtype:
        raise FrontendError(f"input {value.name!r} is {value.dtype}; it cannot be bound to {tensor.dtype}")
    graph.inputs.remove(value)
    value.const_value, value.shape = tensor, ir.Shape(np.shape(array))
    graph.register_initializer(value)


def forget_shapes(model: ir.Model) -> None:
    """Drop every shape that is not an input's or a constant's: they may speak of dimensions no longer dynamic."""
    for node in model.graph:
        for value in node.outputs:
            value.shape = None


def infer_shapes(model: ir.Model) -> ir.Model:
    """Infer what shapes and types are still missing, by the operators' own definitions."""
    version = model.opset_imports.get("", POOL_OPSET)
    if version >= OPSET:
        model.opset_imports[""] = max(version, POOL_OPSET)
    inferred = common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model).model
    if "" in inferred.opset_imports:
        inferred.opset_imports[""] = version
    for node in inferred.graph:
        if node.op_type in SAME_SHAPE and not node.domain and node.inputs[0] is not None:
            node.outputs[0].shape = node.outputs[0].shape or node.inputs[0].shape
    return inferred


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
    culprits = [f"{node.op_type} {node.name or node.outputs[0].name!r}" for node in shapeless_nodes(model)]
    if culprits:
        raise FrontendError(
            f"output shapes depend on data, so they cannot be planned: {', '.join(culprits)}; "
            "where an input decides the shape, bind it to a constant"
        )


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of `value` as a tuple of ints, or None where it is missing or not static."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(int(size) for size in value.shape)  # type: ignore[arg-type]


def _text(shape: object) -> str:
    return "[" + ", ".join(str(getattr(size, "value", size)) for size in shape) + "]"  # type: ignore[attr-defined]
