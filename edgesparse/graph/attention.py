"""Which nodes are an attention, from the product of queries and keys to the product with the values."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from edgesparse.graph.absorb import only_reader
from edgesparse.nodes import constant, dtype_of, shape_of
from edgesparse.numerics import ELEMENTS, TAKEN, Element, element

_FEWEST_QUERIES = 4  # fewer leave lanes over queries idle


@dataclass(frozen=True)
class Mask:
    """What is added to the scores: elements from one entry to the next along each axis, 0 where it repeats."""

    size: int
    batch: int
    head: int
    key: int
    query: int


@dataclass(frozen=True)
class AttentionShape:
    """Shape of an attention; counts are elements.

    With `guarded`, a query whose weights are not numbers (all its keys masked by -infinity) gives zeros.
    """

    batch: int
    heads: int
    queries: int
    keys: int
    width: int  # features of q and k in a head
    value_width: int  # features of v in a head
    scale: float
    mask: Mask | None
    guarded: bool
    element: Element


@dataclass(frozen=True, eq=False)
class Attention:
    """The nodes of softmax(q @ k * scale + mask) @ v, in order, and the values that go in and out."""

    nodes: tuple[ir.Node, ...]
    shape: AttentionShape
    inputs: tuple[ir.Value, ...]  # q [..., queries, width], k [..., width, keys], v [..., keys, width][, mask]
    output: ir.Value


def attention_of(node: ir.Node, taken: Set[ir.Node]) -> Attention | None:
    """Find the attention whose product of queries and keys is `node`; None where there is none.

    Axes before the last two are the batch, if there are four, and the heads; only the mask may repeat along them.
    """
    scores = _scores(node)
    if scores is None:
        return None
    nodes, scale, mask = scores
    softmax = only_reader(nodes[-1].outputs[0])
    if softmax is None or softmax.op_type != "Softmax":
        return None
    rank = len(shape_of(softmax.outputs[0]))
    if softmax.attributes.get_int("axis", -1) not in (-1, rank - 1):
        return None
    guard = _guard(softmax.outputs[0])
    weights = guard[-1] if guard else softmax
    product = only_reader(weights.outputs[0])
    if product is None or product.op_type != "MatMul" or product.inputs[0] is not weights.outputs[0]:
        return None
    every = (*nodes, softmax, *guard, product)
    q, k, v = node.inputs[0], node.inputs[1], product.inputs[1]
    if taken & set(every) or q is None or k is None or v is None or not _fit(q, k, v):
        return None
    shape = _shape(q, k, v, scale, mask, guarded=bool(guard))
    inputs = (q, k, v) if mask is None else (q, k, v, mask)
    return Attention(every, shape, inputs, product.outputs[0])


def _scores(node: ir.Node) -> tuple[list[ir.Node], float, ir.Value | None] | None:
    """A product, its scale and its mask: the nodes up to the last of them."""
    if node.op_type != "MatMul" or node.domain not in ("", "ai.onnx"):
        return None
    nodes, scale, mask = [node], 1.0, None
    while True:
        value = nodes[-1].outputs[0]
        reader = only_reader(value)
        if reader is None or reader.op_type not in ("Mul", "Add") or reader.outputs[0].shape != value.shape:
            return nodes, scale, mask
        other = reader.inputs[1] if reader.inputs[0] is value else reader.inputs[0]
        factor = constant(other)
        if mask is not None or other is None or other.dtype != value.dtype:
            return nodes, scale, mask
        if reader.op_type == "Add":
            mask = other
        elif factor is not None and factor.size == 1:
            scale *= float(factor.reshape(()))
        else:
            return nodes, scale, mask
        nodes.append(reader)


def _guard(weights: ir.Value) -> tuple[ir.Node, ...]:
    """IsNaN and Where(IsNaN(weights), 0, weights), if they are all that reads the weights."""
    readers = {use.node.op_type: use.node for use in weights.uses()}
    if set(readers) != {"IsNaN", "Where"} or weights.is_graph_output():
        return ()
    test, choice = readers["IsNaN"], readers["Where"]
    zero = constant(choice.inputs[1])
    number = zero is not None and zero.size == 1 and not zero.any()
    plain = number and choice.inputs[2] is weights and choice.outputs[0].shape == weights.shape
    if not plain or choice.inputs[0] is not test.outputs[0] or only_reader(test.outputs[0]) is not choice:
        return ()
    return test, choice


def _fit(q: ir.Value, k: ir.Value, v: ir.Value) -> bool:
    shapes = [shape_of(value) for value in (q, k, v)]
    alike = len({shape[:-2] for shape in shapes}) == 1 and len(shapes[0]) in (3, 4)
    floats = all(ELEMENTS.get(dtype_of(value)) in TAKEN for value in (q, k, v))
    return alike and floats and shapes[0][-2] >= _FEWEST_QUERIES and all(prod(shape) for shape in shapes)


def _shape(
    q: ir.Value, k: ir.Value, v: ir.Value, scale: float, mask: ir.Value | None, *, guarded: bool
) -> AttentionShape:
    *batch, heads, queries, width = shape_of(q)
    return AttentionShape(
        batch=prod(batch),
        heads=heads,
        queries=queries,
        keys=shape_of(k)[-1],
        width=width,
        value_width=shape_of(v)[-1],
        scale=scale,
        mask=None if mask is None else _mask(shape_of(mask)),
        guarded=guarded,
        element=element(dtype_of(q)),
    )


def _mask(shape: tuple[int, ...]) -> Mask:
    """The mask is stored with its last two axes exchanged: queries side by side."""
    batch, heads, queries, keys = (1,) * (4 - len(shape)) + shape
    sizes = (batch, heads, keys, queries)
    steps = [prod(sizes[axis + 1 :]) if size > 1 else 0 for axis, size in enumerate(sizes)]
    return Mask(prod(sizes), *steps)
