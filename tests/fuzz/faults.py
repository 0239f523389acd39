"""Faults that this project had, of every kind that a graph can show; each is put back by name, in a process of its own.

Of some kinds several are here. What only a person sees is not: a remedy that does not exist, a kernel that is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from tvm import te, tirx
from tvm.ir import Call, Expr

from edgesparse.backends.cpu import walk
from edgesparse.backends.cpu.kernels import norm
from edgesparse.backends.cpu.relax import (
    checks,
    compute,
    converters,
    defined,
    importer,
    intrinsics,
    regions,
    resize,
    rewrites,
    schedule,
)
from edgesparse.backends.cpu.relax.builder import Builder
from edgesparse.backends.cpu.relax.operators import OWN
from edgesparse.backends.cpu.tensors import tensor
from edgesparse.frontend import fold, norms, opset, repair, shapes

# The package gives functions of these names.
normalise = import_module("edgesparse.frontend.normalise")
read = import_module("edgesparse.frontend.read")


@dataclass(frozen=True)
class Fault:
    """While it is in, names of modules or keys of tables stand for what is wrong.

    Args:
        near: operators, patterns and kinds of invalid models that show it.
    """

    near: tuple[str, ...]
    changes: tuple[tuple[Any, str, object], ...]

    def apply(self) -> None:
        """Put it back, for as long as the process lives."""
        for where, name, wrong in self.changes:
            if isinstance(where, dict):
                where[name] = wrong
            else:
                setattr(where, name, wrong)


def _fault(near: Sequence[str], *changes: tuple[Any, str, object]) -> Fault:
    return Fault(tuple(near), changes)


def _quantized_again(
    model: ir.Model, nodes: list[ir.Node], wanted: list[ir.Value], evaluate: Callable[..., Any] = fold._evaluate
) -> list[np.ndarray] | None:
    """Weights that had a scale for each channel get one scale."""
    arrays = evaluate(model, nodes, wanted)
    for at, value in enumerate(wanted if arrays else ()):
        maker, array = value.producer(), arrays[at]
        if maker is not None and maker.op_type == "DequantizeLinear" and array.size:
            scale = np.abs(array).max() / 127 or 1
            arrays[at] = (np.round(array / scale) * scale).astype(array.dtype)
    return arrays  # type: ignore[no-any-return]


def _todays_defaults(node: ir.Node) -> None:
    x, scales = node.inputs[:2]
    opset._become(node, "Resize", x, None, scales, mode=node.attributes.get_string("mode", "nearest"))


def _mean_as_imported(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    return [b("ReduceMean", *(name for name in inputs if name), **attributes)]


def _half_taken_first(corner: Expr, sampling: Any) -> Expr:
    dtype = corner.ty.dtype
    return (corner - tirx.const(sampling.half, dtype)) * tirx.const(sampling.scale, dtype)


def _any_gain(node: ir.Node, op: str, value: ir.Value, shape: Sequence[int], normal: Sequence[int]) -> Any:
    """A constant with as many elements as are normalised, whatever its shape."""
    if node.op_type != op or node.domain:
        return None
    array = fold.constant(node.inputs[1] if node.inputs[0] is value else node.inputs[0])
    return None if array is None or array.size != np.prod(normal) else array.reshape(tuple(normal))


def _bias_of_the_first(node: ir.Node, target: Any) -> Any:
    bias = node.inputs[2]
    array = fold.constant(bias)
    if array is not None and bias is not None and np.prod(tensor(node.inputs[0]).shape[2:]) == 1:  # type: ignore[arg-type]
        bias.const_value = ir.tensor(np.full_like(array, array[0]))
    return norm.lower_norm(node, target)


def _whole_length(axis: Any, transform: str, coordinates: Callable[..., Any] = resize._coordinates) -> np.ndarray:
    """Corners aligned over a length that is not rounded."""
    found: np.ndarray = coordinates(axis, transform)
    whole = axis.size * axis.scale
    return found * np.float32((axis.result - 1) / (whole - 1)) if transform == "align_corners" and whole > 1 else found


def _finite_start(e: compute.Expression) -> te.Tensor:
    """The first extreme of an axis, counted from a finite number."""
    data, out = e.input(0), tensor(e.node.outputs[0])
    axis, keeps = e.node.attributes.get_int("axis", 0) % len(data.shape), e.node.attributes.get_int("keepdims", 1)
    largest = e.node.op_type == "ArgMax"
    start = (tirx.min_value if largest else tirx.max_value)(data.dtype)

    def better(best: tuple[Expr, Expr], new: tuple[Expr, Expr]) -> tuple[Expr, Expr]:
        taken = (tirx.GT if largest else tirx.LT)(new[1], best[1])
        return tirx.Select(taken, new[0], best[0]), tirx.Select(taken, new[1], best[1])

    extreme = te.comm_reducer(better, lambda place, value: (tirx.const(-1, place), start), "extreme")
    step = te.reduce_axis((0, int(data.shape[axis])), "k")

    def element(*at: Expr) -> Expr:
        inner = at[axis + 1 :] if keeps else at[axis:]
        return extreme((step.var.astype("int64"), data(*at[:axis], step, *inner)), axis=step)

    place, _ = te.compute(out.shape, element, "extreme")
    return te.compute(out.shape, lambda *at: place(*at), "place")


def _renamed_outputs(model: ir.Model, share: Callable[..., Any] = normalise._share_constants) -> ir.Model:
    for value in model.graph.outputs:
        maker = value.producer()
        if maker is not None and maker.op_type == "Identity":
            value.name = f"{value.name}_identity"
    return share(model)  # type: ignore[no-any-return]


def _negative_sizes(
    model: onnx.ModelProto, repaired: Callable[..., onnx.ModelProto] = read.repaired
) -> onnx.ModelProto:
    found = repaired(model)
    before, after = ([*m.graph.input, *m.graph.output] for m in (model, found))
    for old, new in zip(before, after, strict=True):
        sizes = zip(old.type.tensor_type.shape.dim, new.type.tensor_type.shape.dim, strict=False)
        for given, size in sizes:
            if given.dim_value < 0:
                size.dim_value = given.dim_value
    return found


def _power_in_floats(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """Integers raised in float64 and in one expression, however often."""
    result = rewrites.dtype_of(node.outputs[0])
    if result.kind == "f":
        return [b("Pow", inputs[0], b.cast(inputs[1], result))]
    power = b("Pow", b.cast(inputs[0], np.float64), b.cast(inputs[1], np.float64))
    return [b.cast(b("Round", power), result)]


def _unchecked(*operators: str) -> Fault:
    def nothing(_: ir.Node) -> Iterator[checks.Rule]:
        return iter(())

    return _fault(operators, *((checks.RULES, operator, nothing) for operator in operators))


def _as_it_is(*given: Any, **_: Any) -> Any:
    return given[0]


def _nothing(*_: Any, **__: Any) -> None:
    return None


FAULTS: dict[str, Fault] = {
    "weights quantized again": _fault(["Quantized", "DequantizeLinear"], (fold, "_evaluate", _quantized_again)),
    "old Resize with new defaults": _fault(
        ["Resize", "Upsample"],
        (opset.RULES, "Upsample", (opset.RULES["Upsample"][0], opset.Rule(11, _todays_defaults))),
        (opset.RULES, "Resize", (opset.Rule(11, _todays_defaults),)),
    ),
    "old Hardmax along one axis": _fault(["Hardmax"], (opset.RULES, "Hardmax", ())),
    "a window behind the image": _fault(["AveragePool", "MaxPool"], (shapes, "POOL_OPSET", shapes.OPSET)),
    "regions half a pixel off": _fault(["RoiAlign"], (regions, "_placed", _half_taken_first)),
    "a mean of another type": _fault(
        ["ReduceMean"],
        (rewrites.REWRITES, "ReduceMean", _mean_as_imported),
        (importer, "import_model", lambda proto, _: converters.import_model(proto, {})),
    ),
    "a gain of another axis": _fault(["LayerNormalization"], (norms, "_factor", _any_gain)),
    "the bias of the first channel": _fault(
        ["InstanceNormalization"], (walk.LOWERINGS, "InstanceNormalization", _bias_of_the_first)
    ),
    "corners aligned over a fraction": _fault(["Resize"], (resize, "_coordinates", _whole_length)),
    "extremes counted from a number": _fault(
        ["ArgMax", "ArgMin"], *((OWN, operator, compute.lowering(_finite_start)) for operator in ("ArgMax", "ArgMin"))
    ),
    "outputs with other names": _fault(
        ["Identity", "Relu"], (normalise, "_share_constants", _renamed_outputs), (normalise, "_require_names", _nothing)
    ),
    "booleans compared as floats": _fault(["Equal"], (defined, "_compare", _as_it_is)),
    "a call of another version of TVM": _fault(
        ["Pow"], (intrinsics, "_power", lambda call: Call(str(call.ty.dtype), call.op, call.args))
    ),
    "expressions that grow": _fault(
        ["Chain", "Softplus"],
        (schedule, "_LARGEST", 1 << 40),
        (schedule, "_WRITTEN_OUT", frozenset()),
        (schedule, "_DEEPEST", {}),
    ),
    "shifts as the processor has them": _fault(["BitShift"], (defined, "_shift", _as_it_is)),
    "casts as the processor has them": _fault(["Cast"], (defined, "_cast", _as_it_is)),
    "scattering where an input says": _unchecked("ScatterElements", "ScatterND"),
    "gathering elements where an input says": _unchecked("GatherElements", "GatherND"),
    "gathering where an input says": _unchecked("Gather"),
    "dividing by what an input says": _unchecked("Div", "Mod"),
    "unknown sizes taken as 1": _fault(["Relu", "unknown sizes"], (shapes, "_require_sizes", _nothing)),
    "channels that are not compared": _fault(
        ["Relu", "channels that do not match"], (normalise, "require_fitting", _nothing)
    ),
    "the long name of the domain": _fault(["Add", "Relu"], (repair, "_domain", _as_it_is)),
    "nodes in one order only": _fault(["Add", "Relu"], (repair, "_sort", _nothing)),
    "dimensions of minus one": _fault(["Add", "Relu"], (read, "repaired", _negative_sizes)),
}
"""By what is wrong."""
