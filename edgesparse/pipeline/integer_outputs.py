"""What a model computes whose outputs depend on small integers alone, to the bit: by the rule of all targets.

Sums of products, and means, are whole numbers; one float32 multiplication and one rounding make a stored integer of
them (`graph.quantized.Requantization`). All else is a single operator between stored integers, as ONNX Runtime
computes it without its optimizations.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse import reference
from edgesparse.graph.groups import ENDS, Operand, Result, quantization_of
from edgesparse.graph.integer import Integer
from edgesparse.graph.integer_layers import Sums
from edgesparse.graph.ops import Graph, IntegerDepthwise, Op, Weighted
from edgesparse.nodes import dtype_of, ints, shape_of

Arrays = Mapping[str, np.ndarray]

MEANS = ("AveragePool", "GlobalAveragePool", "ReduceMean")

MOST_COLUMNS = 1 << 23
"""Numbers of windows that are laid out at once: 64 MiB."""

MOVES = frozenset(
    (
        *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Pad", "Reshape", "Slice"),
        *("SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    )
)
"""Operators that choose among numbers, and compute none."""


def promised(graph: Graph) -> list[str]:
    """The names of the outputs that no float32 arithmetic but that of the rule rounds on their way."""
    exact = _Exact(graph)
    return [str(value.name) for value in graph.model.graph.outputs if exact.holds(value)]


def integer_outputs(graph: Graph, names: Collection[str], feeds: Arrays) -> dict[str, np.ndarray]:
    """Some of the outputs that are `promised`, by name.

    Args: feeds: every input of the model.

    Raises: OnnxRuntimeError: it cannot run the model on them.
    """
    wanted = [value for value in graph.model.graph.outputs if value.name in names]
    known, needed = dict(feeds), _Exact(graph).behind(wanted)
    for op in graph.ops:
        operand = _summed(op)
        if operand is not None and op.output in needed:  # type: ignore[union-attr]
            x = _evaluated(graph.model, [operand.value], known)
            result = _layer(op.sums, *x) if isinstance(op, Weighted | IntegerDepthwise) else _mean(op, *x)  # type: ignore[arg-type]
            known[str(op.output.name)] = result  # type: ignore[union-attr]
    return dict(zip((str(value.name) for value in wanted), _evaluated(graph.model, wanted, known), strict=True))


def _summed(op: Op) -> Operand | None:
    """What an op sums up by the rule; None for one that ONNX Runtime computes to the bit."""
    if isinstance(op, Weighted | IntegerDepthwise):
        return None if op.sums is None else op.sums.x
    return op.group.operands[0] if isinstance(op, Integer) and op.group.node.op_type in MEANS else None


class _Exact:
    """Which values depend on integers alone."""

    def __init__(self, graph: Graph) -> None:
        self._of = {op.output: op for op in graph.ops if isinstance(op, Weighted | IntegerDepthwise | Integer)}
        self._known: dict[ir.Value, bool] = {}

    def holds(self, value: ir.Value) -> bool:
        """Whether one does."""
        waiting = [value]
        while waiting:
            at = waiting[-1]
            read = [each for each in self._read(at) or () if each not in self._known]
            if not read:
                before = self._read(at)
                self._known[at] = before is not None and all(self._known[each] for each in before)
                waiting.pop()
            waiting += read
        return self._known[value]

    def behind(self, values: list[ir.Value]) -> set[ir.Value]:
        """Some of these, and all that they depend on."""
        found, waiting = set(values), list(values)
        while waiting:
            fresh = set(self._read(waiting.pop()) or ()) - found
            found |= fresh
            waiting += fresh
        return found

    def _read(self, value: ir.Value) -> list[ir.Value] | None:
        """What a value is computed from; None where floats are."""
        op, node = self._of.get(value), value.producer()
        if isinstance(op, Integer):
            return [operand.value for operand in op.group.operands]
        if op is not None:
            operand = _summed(op)
            return None if operand is None else [operand.value]
        if node is None:
            return []
        moves = not node.domain and (node.op_type in MOVES or (node.op_type in ENDS and _by_one_scale(node)))
        return [each for each in node.inputs if each is not None] if moves else None


def _by_one_scale(node: ir.Node) -> bool:
    by = quantization_of(node, dtype_of(node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]))
    return by is not None and by.scale.size == 1


def _evaluated(model: ir.Model, values: list[ir.Value], known: Arrays) -> list[np.ndarray]:
    """Values of a model, where others are known."""
    names = [str(value.name) for value in values]
    missing = [name for name in dict.fromkeys(names) if name not in known]
    found = dict(known)
    if missing:
        given = {name: array.dtype for name, array in known.items()}
        with reference.Session(model, missing, given=given, threads=0) as session:
            found |= session.run({name: known[name] for name in session.inputs})
    return [found[name] for name in names]


def _layer(sums: Sums, x: np.ndarray) -> np.ndarray:
    """What a layer of bytes gives."""
    centred = x.astype(np.float64) - float(sums.x.by.zero)  # sums of products of bytes are exact in float64
    is_conv = sums.node.op_type == "Conv"
    total = _convolved(sums.node, centred, sums.weight) if is_conv else centred @ sums.weight.astype(np.float64)
    spread = (-1, *([1] * (total.ndim - 2))) if is_conv else (-1,)
    whole = (total + sums.bias.reshape(spread)).astype(np.float32)
    if sums.result.by is None:
        return np.asarray(whole * sums.scale.astype(np.float32).reshape(spread))
    scale = (sums.scale / sums.result.by.scale).astype(np.float32)
    return _stored(whole * scale.reshape(spread), sums.result)


def _convolved(node: ir.Node, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x [N, C, ...] convolved with w [M, C / groups, ...]."""
    kernel, rank = weight.shape[2:], weight.ndim - 2
    strides, dilations = ints(node, "strides", (1,) * rank), ints(node, "dilations", (1,) * rank)
    padded = _padded(node, x, rank)
    reach = tuple((size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=tuple(range(2, 2 + rank)))
    places = (*(slice(None, None, step) for step in strides), *(slice(None, None, step) for step in dilations))
    windows = windows[(slice(None), slice(None), *places)]  # [N, C, places, kernel]
    batch, size, groups = len(x), windows.shape[2 : 2 + rank], x.shape[1] // weight.shape[1]
    w = weight.astype(np.float64).reshape(groups, len(weight) // groups, -1)
    rows = max(1, MOST_COLUMNS // max(1, batch * x.shape[1] * prod(size[1:]) * prod(kernel)))
    parts = []
    for first in range(0, size[0], rows):
        part = windows[:, :, first : first + rows]
        shape = part.shape[2 : 2 + rank]
        columns = part.reshape(batch, groups, weight.shape[1], prod(shape), prod(kernel)).swapaxes(3, 4)
        columns = columns.reshape(batch, groups, -1, prod(shape))
        parts.append((w @ columns).reshape(batch, len(weight), *shape))
    return np.concatenate(parts, axis=2)


def _padded(node: ir.Node, x: np.ndarray, rank: int) -> np.ndarray:
    pads = ints(node, "pads", (0,) * (2 * rank))
    return np.pad(x, ((0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)))


def _mean(op: Integer, x: np.ndarray) -> np.ndarray:
    """The mean of bytes under a window, or of all of an image."""
    node, by, result = op.group.node, op.group.operands[0].by, op.group.result
    assert result.by is not None
    centred, rank = x.astype(np.float64) - float(by.zero), x.ndim - 2
    kernel = ints(node, "kernel_shape") if node.op_type == "AveragePool" else x.shape[2:]
    windows = np.lib.stride_tricks.sliding_window_view(centred, tuple(kernel), axis=tuple(range(2, 2 + rank)))
    steps = ints(node, "strides", (1,) * rank)
    total = windows.sum(axis=tuple(range(-rank, 0)))[(slice(None), slice(None), *(slice(None, None, s) for s in steps))]
    scale = np.float32(float(by.scale) / (float(result.by.scale) * prod(kernel)))
    shape = shape_of(op.group.output)
    return _stored(total.astype(np.float32) * scale, result)[tuple(slice(None, size) for size in shape)]


def _stored(real: np.ndarray, result: Result) -> np.ndarray:
    """The integers that numbers in units of their scale are stored as."""
    assert result.by is not None
    low, high = result.limits()
    whole = np.rint(real.astype(np.float32)).astype(np.float64) + float(result.by.zero)
    return np.asarray(np.clip(whole, low, high).astype(result.by.element.numpy))
