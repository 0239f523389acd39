"""Fold BatchNormalization and per-channel constants into the weights beside them.

A chain of BatchNormalization, Mul, Div, Add and Sub with constants is one affine map `x * scale + shift`. It goes into
the layer before it, else into the layer after it where that is exact (no padding). Where it goes into no weights it
stays as it is, since each step rounds, but for BatchNormalization, which becomes Mul and Add.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.frontend.fold import add_constant, constant
from edgesparse.frontend.shapes import static_shape
from edgesparse.graph.provenance import derived

FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)

CANCELS = float(1 << 16)
"""A shift this many times as large as what remains after another, or as the weights, leaves only rounding errors."""

HOISTED_INTO = ("MatMul", "Conv", "Add", "Mul")
"""Where a hoisted factor stops: producers it can be folded into, or travel further through."""


@dataclass(frozen=True)
class Affine:
    """The map x -> x * scale + shift; both broadcast against x and keep its shape."""

    scale: np.ndarray
    shift: np.ndarray

    def then(self, other: Affine) -> Affine:
        """This map, followed by `other`."""
        return Affine(self.scale * other.scale, self.shift * other.scale + other.shift)


@dataclass(frozen=True)
class Chain:
    """Consecutive affine nodes, each the only reader of the one before."""

    source: ir.Value
    nodes: tuple[ir.Node, ...]
    affine: Affine

    @property
    def result(self) -> ir.Value:
        """What the last node of the chain gives."""
        return self.nodes[-1].outputs[0]


def fold_affine(model: ir.Model) -> None:
    """Fold every affine chain of `model`, in place."""
    graph = model.graph
    done: set[ir.Node] = set()
    for node in list(graph):
        if node in done or node.graph is None:
            continue
        chain = _chain_from(node)
        if chain is None:
            continue
        done.update(chain.nodes)
        if not (_fold_backward(graph, chain) or _fold_forward(graph, chain)):
            _write_out(graph, chain)


def hoist_factors(model: ir.Model) -> None:
    """Move multiplications by a scalar before the Reshape and Transpose nodes they follow, in place.

    Attention scales queries and keys after splitting heads; before it, the factor can join the projection's weights.
    """
    for node in model.graph:
        if node.op_type != "Mul" or (found := _affine(node)) is None or found[1].scale.size != 1:
            continue
        source = found[0]
        mover = source.producer()
        while mover is not None and mover.op_type in ("Reshape", "Transpose") and _only_reader(source) is not None:
            below = mover.inputs[0]
            assert below is not None
            source, mover = below, below.producer()
        if source is found[0] or mover is None or _only_reader(source) is None or mover.op_type not in HOISTED_INTO:
            continue
        _move_factor(model.graph, node, found[0], source)


def _move_factor(graph: ir.Graph, node: ir.Node, value: ir.Value, source: ir.Value) -> None:
    """Take the Mul `node` off `value` and put it on `source` instead."""
    factor = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
    scalar = constant(factor)
    assert scalar is not None
    producer, reader = source.producer(), next(iter(source.uses()))
    assert producer is not None
    result = node.outputs[0]
    if result.is_graph_output():
        return
    result.replace_all_uses_with(value)
    graph.remove(node, safe=True)
    scaled = ir.node("Mul", [source, add_constant(graph, scalar.reshape(()), f"{node.name}_factor")], name=node.name)
    made = scaled.outputs[0]
    made.name, made.type, made.shape = f"{node.name}_hoisted", source.type, source.shape
    producer.append(scaled)
    reader.node.replace_input_with(reader.idx, made)
    _rename_between(made, value, result.name)


def _rename_between(first: ir.Value, last: ir.Value, name: str | None) -> None:
    """Rename the values between, which no longer are what their names say; `last` gets `name`."""
    value: ir.Value | None = last
    while value is not None and value is not first:
        value.name = name if value is last else f"{value.name}_hoisted"
        mover = value.producer()
        value = mover.inputs[0] if mover is not None else None


@np.errstate(all="ignore")  # what is no number is left alone
def _chain_from(node: ir.Node) -> Chain | None:
    first = _affine(node)
    if first is None:
        return None
    source, affine = first
    dtype = source.dtype.numpy()  # type: ignore[union-attr]
    if not _holds(affine, dtype):
        return None
    nodes = [node]
    while (reader := _only_reader(nodes[-1].outputs[0])) is not None:
        following = _affine(reader)
        if following is None or following[0] is not nodes[-1].outputs[0]:
            break
        joined = affine.then(following[1])
        if not (_is_moderate(affine, dtype) and _is_moderate(following[1], dtype) and _holds(joined, dtype)):
            break
        if _outweighs(affine.shift * following[1].scale, joined.shift, joined.scale):
            break
        affine = joined
        nodes.append(reader)
    return Chain(source, tuple(nodes), affine)


def _is_moderate(affine: Affine, dtype: np.dtype) -> bool:
    """Whether its numbers can be multiplied once more without overflow to infinity or underflow to 0."""
    most = float(np.sqrt(np.finfo(dtype).max))
    numbers = np.abs(np.concatenate([affine.scale.ravel(), affine.shift.ravel()]))
    return bool(((numbers == 0) | ((1 / most <= numbers) & (numbers <= most))).all())


def _outweighs(shift: np.ndarray, *rest: np.ndarray) -> bool:
    """Whether a shift is so large that the rest is lost to rounding beside it."""
    return bool(np.abs(shift).max(initial=0.0) > CANCELS * max(np.abs(each).max(initial=0.0) for each in rest))


def _holds(affine: Affine, dtype: np.dtype) -> bool:
    return _fits(affine.scale, dtype) and _fits(affine.shift, dtype)


def _fits(array: np.ndarray, dtype: np.dtype) -> bool:
    """Whether `dtype` holds the numbers to its precision: none is too large, and none that matters too small."""
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(array.astype(dtype).astype(np.float64) - array).max(initial=0.0)
    return bool(off <= np.finfo(dtype).eps * np.abs(array).max(initial=0.0) < np.inf)  # false for NaN


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def _affine(node: ir.Node) -> tuple[ir.Value, Affine] | None:
    """The input and map of `node` where it is affine with constants and keeps its input's shape."""
    if node.domain or not node.outputs or node.outputs[0].dtype not in FLOATS:
        return None
    if node.op_type == "BatchNormalization":
        return _batchnorm(node)
    if node.op_type not in ("Mul", "Div", "Add", "Sub"):
        return None
    left, right = node.inputs
    value, operand = left, constant(right)
    if operand is None and node.op_type != "Div":
        value, operand = right, constant(left)
    shape = static_shape(value)
    if value is None or operand is None or shape is None or constant(value) is not None:
        return None
    if static_shape(node.outputs[0]) != shape:
        return None
    operand = operand.astype(np.float64)
    one, zero = np.ones(()), np.zeros(())
    match node.op_type:
        case "Mul":
            return value, Affine(operand, zero)
        case "Div":
            return (value, Affine(1.0 / operand, zero)) if operand.all() else None
        case "Add":
            return value, Affine(one, operand)
        case _:
            return value, (Affine(one, -operand) if value is left else Affine(-one, operand))


def _batchnorm(node: ir.Node) -> tuple[ir.Value, Affine] | None:
    """Inference BatchNormalization: (x - mean) / sqrt(var + epsilon) * gamma + beta."""
    used = [value for value in node.outputs[1:] if value.name and (value.uses() or value.is_graph_output())]
    value, shape = node.inputs[0], static_shape(node.inputs[0])
    if used or node.attributes.get_int("training_mode", 0) == 1 or value is None or shape is None:
        return None
    arrays = [constant(parameter) for parameter in node.inputs[1:5]]
    if any(array is None for array in arrays):
        return None
    column = (-1,) + (1,) * (len(shape) - 2)
    gamma, beta, mean, var = (np.asarray(array, np.float64).reshape(column) for array in arrays)
    scale = gamma / np.sqrt(var + node.attributes.get_float("epsilon", 1e-5))
    return value, Affine(scale, beta - mean * scale)


def _per_channel(array: np.ndarray, rank: int, axis: int, channels: int) -> np.ndarray | None:
    """`array` as a vector over `axis` of a tensor of `rank`, or None where it varies along another axis."""
    full = array.reshape((1,) * (rank - array.ndim) + array.shape) if array.ndim <= rank else None
    if full is None or any(size != 1 for at, size in enumerate(full.shape) if at != axis):
        return None
    return np.broadcast_to(full.reshape(-1), (channels,))


def _fold_backward(graph: ir.Graph, chain: Chain) -> bool:
    """Scale the rows of the layer that feeds `chain`; its shift joins the bias."""
    layer = chain.source.producer()
    if layer is None or layer.domain or _only_reader(chain.source) is None:
        return False
    weight, shape = constant(layer.inputs[1]) if len(layer.inputs) > 1 else None, static_shape(chain.source)
    if weight is None or shape is None:
        return False
    rank, affine = len(shape), chain.affine
    if layer.op_type == "MatMul":
        return _fold_into_matmul(graph, chain, layer, weight, rank)
    if layer.op_type not in ("Conv", "ConvTranspose"):
        return False
    bias = constant(layer.inputs[2]) if len(layer.inputs) > 2 and layer.inputs[2] is not None else np.zeros(shape[1])
    scale, shift = (_per_channel(part, rank, 1, shape[1]) for part in (affine.scale, affine.shift))
    if bias is None or scale is None or shift is None:
        return False
    if layer.op_type == "Conv":
        scaled = weight * scale.reshape((-1,) + (1,) * (weight.ndim - 1))
    else:
        scaled = _scale_transposed(weight, scale, layer.attributes.get_int("group", 1))
    if not _replace_weights(graph, layer, scaled, bias * scale + shift, weight.dtype):
        return False
    _bypass(graph, chain, chain.source, takes_name=True)
    return True


def _scale_transposed(weight: np.ndarray, scale: np.ndarray, group: int) -> np.ndarray:
    """Scale output channels of a ConvTranspose weight [K, M/group, ...]; group g owns K/group consecutive rows."""
    rows, columns = weight.shape[:2]
    grid = np.repeat(scale.reshape(group, columns), rows // group, axis=0)
    scaled: np.ndarray = weight * grid.reshape((rows, columns) + (1,) * (weight.ndim - 2))
    return scaled


def _fold_into_matmul(graph: ir.Graph, chain: Chain, layer: ir.Node, weight: np.ndarray, rank: int) -> bool:
    """Scale the columns of `x @ w`; the shift stays behind as the Add that is a MatMul's bias."""
    affine = chain.affine
    if weight.ndim != 2 or (affine.scale == 1).all():
        return False
    scale = _per_channel(affine.scale, rank, rank - 1, weight.shape[1])
    if scale is None:
        return False
    if not _replace_weights(graph, layer, weight * scale, None, weight.dtype):
        return False
    chain.source.name = f"{chain.source.name}_scaled"
    _emit(graph, chain, Affine(np.ones(()), affine.shift))
    return True


def _fold_forward(graph: ir.Graph, chain: Chain) -> bool:
    """Scale the columns of the layer that reads `chain`; exact only where no padded zeros mix with the shift."""
    layer, shape = _only_reader(chain.result), static_shape(chain.source)
    if layer is None or shape is None or layer.domain or layer.op_type != "Conv" or layer.inputs[0] is not chain.result:
        return False
    weight = constant(layer.inputs[1])
    bias = constant(layer.inputs[2]) if len(layer.inputs) > 2 and layer.inputs[2] is not None else np.zeros(1)
    scale, shift = (_per_channel(part, len(shape), 1, shape[1]) for part in (chain.affine.scale, chain.affine.shift))
    if weight is None or bias is None or scale is None or shift is None:
        return False
    padded = any(layer.attributes.get_ints("pads", ())) or layer.attributes.get_string("auto_pad", "NOTSET") != "NOTSET"
    if padded and shift.any():
        return False
    group = layer.attributes.get_int("group", 1)
    rows = weight.shape[0]
    tail = (1,) * (weight.ndim - 2)
    per_row = [np.repeat(part.reshape(group, -1), rows // group, axis=0) for part in (scale, shift)]
    lifted = (weight * per_row[1].reshape(per_row[1].shape + tail)).reshape(rows, -1).sum(axis=1)
    scaled = weight * per_row[0].reshape(per_row[0].shape + tail)
    if not _replace_weights(graph, layer, scaled, np.broadcast_to(bias, (rows,)) + lifted, weight.dtype):
        return False
    _bypass(graph, chain, chain.source)
    return True


def _write_out(graph: ir.Graph, chain: Chain) -> None:
    """Write each BatchNormalization of `chain` as Mul and Add, and drop steps that change nothing."""
    for node in chain.nodes:
        found = _affine(node)
        assert found is not None
        source, affine = found
        adds = node.op_type in ("Add", "Sub") and not np.signbit(affine.shift).all()  # 0, which makes 0 of -0
        idle = (affine.scale == 1).all() and (affine.shift == 0).all() and not adds
        if idle or node.op_type == "BatchNormalization":
            _emit(graph, Chain(source, (node,), affine), affine)


def _emit(graph: ir.Graph, chain: Chain, affine: Affine) -> None:
    value, last, dtype = chain.source, chain.nodes[-1], chain.result.dtype
    assert dtype is not None
    for op, part, neutral in (("Mul", affine.scale, 1), ("Add", affine.shift, 0)):
        if (part == neutral).all():
            continue
        name = f"{chain.nodes[0].name}_{op.lower()}"
        operand = add_constant(graph, part.astype(dtype.numpy()), f"{name}_operand")
        node = ir.node(op, [value, operand], name=name)
        node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = name, chain.result.type, chain.result.shape
        last.append(node)
        last, value = node, node.outputs[0]
    _bypass(graph, chain, value, takes_name=value is not chain.source)


def _replace_weights(
    graph: ir.Graph, layer: ir.Node, weight: np.ndarray, bias: np.ndarray | None, dtype: np.dtype
) -> bool:
    """Give `layer` other weights; false, and nothing is changed, where its type does not hold them."""
    original = layer.inputs[1]
    assert original is not None
    if not all(_fits(array, dtype) for array in (weight, bias) if array is not None):
        return False
    if bias is not None and _outweighs(bias, weight):
        return False
    folded = add_constant(graph, weight.astype(dtype), f"{original.name}_folded", derived("scaled", original))
    layer.replace_input_with(1, folded)
    if bias is None:
        return True
    if len(layer.inputs) < 3:
        layer.resize_inputs(3)
    layer.replace_input_with(
        2, add_constant(graph, bias.astype(dtype), f"{original.name}_bias", derived("computed", layer.inputs[2]))
    )
    return True


def _bypass(graph: ir.Graph, chain: Chain, value: ir.Value, *, takes_name: bool = False) -> None:
    """Let every reader of `chain` read `value`.

    Args: takes_name: `value` is what the chain has computed, so it is called so; an output of the graph always is.
    """
    result = chain.result
    if value is result:
        return
    if result.is_graph_output() and (value.producer() is None or value.is_graph_output()):  # each has a node of its own
        copy = ir.node("Identity", [value], name=f"{chain.nodes[-1].name}_identity")
        copy.outputs[0].type, copy.outputs[0].shape = result.type, result.shape
        chain.nodes[-1].append(copy)
        value = copy.outputs[0]
    name, takes_name = result.name, takes_name or result.is_graph_output()
    result.replace_all_uses_with(value, replace_graph_outputs=True)
    if takes_name:
        result.name, value.name = f"{name}_folded", name
    graph.remove(list(reversed(chain.nodes)), safe=True)
