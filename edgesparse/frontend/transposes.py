"""Put transposes where they cost least: merged, cancelled, or moved past what computes alike in any layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import onnx_ir as ir
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from edgesparse.frontend.fold import add_constant, constant
from edgesparse.frontend.quantization import CONVERSIONS, is_of_tensor
from edgesparse.frontend.shapes import static_shape
from edgesparse.graph.provenance import derived

Perm = tuple[int, ...]
LARGEST = (1 << 31) - 1  # a capacity of scipy's flows

ELEMENTWISE = frozenset(
    {
        "Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Floor",
        "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu",
        "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow",
        "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum",
        "Tanh", "ThresholdedRelu", "Where", "Xor",
    }
)  # fmt: skip
"""Operators that compute each element by itself, and broadcast their operands."""

BY_AXIS = frozenset({"Concat", "LogSoftmax", "Softmax"})
"""Operators that follow an attribute `axis`."""


OPSET = 13
"""From here on every operator above broadcasts as numpy does, and Softmax sees one axis."""


def place_transposes(model: ir.Model) -> None:
    """Merge, cancel and move the transposes of `model`, in place, until no move saves any."""
    graph = model.graph
    if model.opset_imports.get("", 0) < OPSET:
        return
    while merge_transposes(graph) or _pass_reshape(graph) or _move(graph):
        pass


def _perm(node: ir.Node | None) -> Perm | None:
    """The permutation of a Transpose; None for any other node."""
    if node is None or node.op_type != "Transpose" or node.domain:
        return None
    shape = static_shape(node.inputs[0])
    return None if shape is None else tuple(node.attributes.get_ints("perm", tuple(reversed(range(len(shape))))))


def _inverse(perm: Perm) -> Perm:
    return tuple(int(axis) for axis in np.argsort(perm))


def _transpose(value: ir.Value, perm: Perm) -> ir.Node:
    node = ir.node("Transpose", [value], attributes={"perm": list(perm)}, name=f"{value.name}_transpose")
    shape = static_shape(value)
    assert shape is not None
    made = node.outputs[0]
    made.name, made.type = f"{value.name}_transposed", value.type
    made.shape = ir.Shape([shape[axis] for axis in perm])
    return node


def _take_over(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """Let the readers of `old` read `new`; an output of the graph keeps its node, which copies `new`."""
    if not old.is_graph_output():
        old.replace_all_uses_with(new)
        return
    producer = old.producer()
    assert producer is not None
    for use in list(old.uses()):
        use.node.replace_input_with(use.idx, new)
    copy = ir.node("Identity", [new], name=f"{old.name}_identity")
    copy.outputs[0].type, copy.outputs[0].shape = old.type, old.shape
    producer.append(copy)
    name = old.name
    old.replace_all_uses_with(copy.outputs[0], replace_graph_outputs=True)
    old.name, copy.outputs[0].name = f"{name}_replaced", name


def join_transposes(model: ir.Model) -> None:
    """Make one of transposes that follow one another, in place: other passes bring them together."""
    merge_transposes(model.graph)


def merge_transposes(graph: ir.Graph) -> bool:
    """Two transposes in a row are one, or none; returns whether there were any."""
    merged = False
    for node in list(graph):
        perm = _perm(node)
        if perm is None:
            continue
        source, result = node.inputs[0], node.outputs[0]
        assert source is not None
        before = _perm(source.producer())
        if before is not None:
            inner = source.producer()
            assert inner is not None
            node.replace_input_with(0, inner.inputs[0])
            perm = tuple(before[axis] for axis in perm)
            node.attributes["perm"] = ir.AttrInt64s("perm", perm)
            source, merged = inner.inputs[0], True
            _drop_unread(graph, inner)
        if perm == tuple(range(len(perm))) and (result.uses() or result.is_graph_output()):
            assert source is not None
            _take_over(graph, result, source)
            _drop_unread(graph, node)
            merged = True
    return merged


def _drop_unread(graph: ir.Graph, node: ir.Node) -> None:
    if not any(value.uses() or value.is_graph_output() for value in node.outputs):
        graph.remove(node, safe=True)


def _pass_reshape(graph: ir.Graph) -> bool:
    """Exchange a Transpose with the Reshape before it, which merges axes, or behind it, which splits axes.

    Only where the one or the other meets its like on the other side, so that fewer are left.
    """
    for node in list(graph):
        perm = _perm(node)
        if perm is None:
            continue
        if _pull_before_reshape(graph, node, perm) or _push_behind_reshape(graph, node, perm):
            return True
    return False


def _pull_before_reshape(graph: ir.Graph, node: ir.Node, perm: Perm) -> bool:
    reshape = node.inputs[0].producer()  # type: ignore[union-attr]
    if reshape is None or reshape.op_type != "Reshape" or _only_reader(reshape.outputs[0]) is not node:
        return False
    source, after = reshape.inputs[0], _only_reader(node.outputs[0])
    assert source is not None
    if not (_is(_made_for_one(source), "Transpose") or _is(after, "Reshape")):
        return False
    groups = _groups(static_shape(source), static_shape(reshape.outputs[0]))
    if groups is None:
        return False
    moved = _transpose(source, tuple(axis for at in perm for axis in groups[at]))
    last = after if after is not None and _is(after, "Reshape") else node
    _replace(graph, last, [moved, _reshaped(graph, moved.outputs[0], last.outputs[0])])
    for unread in (node, reshape):
        if unread.graph is not None:
            _drop_unread(graph, unread)
    return True


def _push_behind_reshape(graph: ir.Graph, node: ir.Node, perm: Perm) -> bool:
    reshape = _only_reader(node.outputs[0])
    if reshape is None or not _is(reshape, "Reshape") or reshape.inputs[0] is not node.outputs[0]:
        return False
    source, after = node.inputs[0], _only_reader(reshape.outputs[0])
    assert source is not None
    before = _made_for_one(source)
    if not (_is(before, "Reshape") or _is(after, "Transpose")):
        return False
    groups = _groups(static_shape(reshape.outputs[0]), static_shape(node.outputs[0]))
    if groups is None:
        return False
    sizes = static_shape(reshape.outputs[0])
    assert sizes is not None
    order = [axis for at in _inverse(perm) for axis in groups[at]]  # of the split axes, as the source has them
    split = ir.Value(name=f"{source.name}_split", type=source.type, shape=ir.Shape([sizes[axis] for axis in order]))
    start = before.inputs[0] if before is not None and _is(before, "Reshape") else source
    assert start is not None
    first = _reshaped(graph, start, split)
    moved = _transpose(first.outputs[0], _inverse(tuple(order)))
    _replace(graph, reshape, [first, moved])
    _drop_unread(graph, node)
    return True


def _is(node: ir.Node | None, op: str) -> bool:
    return node is not None and node.op_type == op and not node.domain


def _made_for_one(value: ir.Value) -> ir.Node | None:
    """What makes `value`, if only one node reads it."""
    return value.producer() if _only_reader(value) is not None else None


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def _reshaped(graph: ir.Graph, value: ir.Value, like: ir.Value) -> ir.Node:
    """A Reshape of `value` to the shape of `like`."""
    shape = static_shape(like)
    assert shape is not None
    target = add_constant(graph, np.asarray(shape, np.int64), f"{like.name}_shape")
    node = ir.node("Reshape", [value, target], name=f"{like.name}_reshape")
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = f"{like.name}_reshaped", like.type, like.shape
    return node


def _replace(graph: ir.Graph, node: ir.Node, steps: list[ir.Node]) -> None:
    node.prepend(steps)
    _take_over(graph, node.outputs[0], steps[-1].outputs[0])
    _drop_unread(graph, node)


def _groups(fine: Sequence[int] | None, coarse: Sequence[int] | None) -> list[list[int]] | None:
    """For each axis of `coarse` the neighbouring axes of `fine` that it joins; None where it joins others."""
    if fine is None or coarse is None or 0 in fine:
        return None
    groups: list[list[int]] = []
    at = 0
    for size in coarse:
        group: list[int] = []
        while prod(fine[axis] for axis in group) < size and at < len(fine):
            group.append(at)
            at += 1
        if prod(fine[axis] for axis in group) != size:
            return None
        groups.append(group)
    return groups if at == len(fine) else _with_rest(groups, fine, at)


def _with_rest(groups: list[list[int]], fine: Sequence[int], at: int) -> list[list[int]] | None:
    if not groups or prod(fine[at:]) != 1:
        return None
    groups[-1].extend(range(at, len(fine)))
    return groups


class _Layouts:
    """The cheapest choice between two layouts for every node that computes alike in both.

    In the second layout a node computes its result with axes in the order of what one of the transposes of the graph
    reads. A value that is read in another layout than it is made in costs a transpose: the smallest cut between the
    nodes that must keep the first layout and those that gain by the second is the cheapest choice (Hu 1974, project
    selection).
    """

    def __init__(self, graph: ir.Graph, perm: Perm) -> None:
        self.graph, self.perm = graph, perm
        self._numbers: dict[object, int] = {"first": 0, "second": 1}
        self._edges: dict[tuple[int, int], int] = {}
        self.nodes = [node for node in graph if _follows(node, len(perm))]
        self._inside = set(self.nodes)

    def moved(self) -> set[ir.Node]:
        """The nodes that are cheaper in the second layout; empty where nothing is gained."""
        if not self.nodes:
            return set()
        now = self._connect()
        flow, second = self._cut()
        return {node for node in self.nodes if self._numbers[node] in second} if flow < now else set()

    def _connect(self) -> int:
        """Add what every value costs, and return what the first layout alone costs."""
        now = 0
        sizes = {value: prod(static_shape(value) or (0,)) for value in self._values()}
        unit = sum(sizes.values()) // (LARGEST >> 3) + 1
        for value, elements in sizes.items():
            size = -(-elements // unit)
            producer = value.producer()
            readers = [use.node for use in value.uses()]
            kind = _perm(producer)
            if kind == self.perm:  # made in the second layout, in effect
                self._value("second", value, [r for r in readers if not _undoes(r, self.perm)], size)
                now += size if any(not _undoes(r, self.perm) for r in readers) or value.is_graph_output() else 0
            elif kind is not None and len(readers) == 1:
                continue  # a transpose in any case
            else:
                home: object = producer if producer in self._inside else "first"
                self._value(home, value, readers, size)
                now += size if any(_undoes(reader, self.perm) for reader in readers) else 0
        return now

    def _values(self) -> Iterator[ir.Value]:
        for value in (*self.graph.inputs, *(value for node in self.graph for value in node.outputs)):
            if len(static_shape(value) or ()) == len(self.perm) and value.const_value is None:
                yield value

    def _value(self, home: object, value: ir.Value, readers: Sequence[ir.Node], size: int) -> None:
        """One transpose serves all readers of the other layout, whichever that is."""
        wanted: list[object] = []
        for reader in readers:
            if reader in self._inside:
                wanted.append(reader)
            elif _undoes(reader, self.perm):
                wanted.append("second")
            elif _perm(reader) is None:
                wanted.append("first")
        if value.is_graph_output():
            wanted.append("first")
        down, up = ("down", value), ("up", value)
        self._edge(home, down, size)
        self._edge(up, home, size)
        for side in wanted:
            self._edge(down, side, LARGEST >> 1)
            self._edge(side, up, LARGEST >> 1)

    def _edge(self, start: object, end: object, capacity: int) -> None:
        a, b = (self._numbers.setdefault(each, len(self._numbers)) for each in (start, end))
        if a != b and capacity:
            self._edges[a, b] = min(self._edges.get((a, b), 0) + capacity, LARGEST >> 1)

    def _cut(self) -> tuple[int, set[int]]:
        """The size of the smallest cut, and the nodes on the side of "second", by number."""
        for node in self.nodes:
            self._numbers.setdefault(node, len(self._numbers))
        count = len(self._numbers)
        rows, columns = zip(*self._edges, strict=True) if self._edges else ((), ())
        capacities = csr_matrix((list(self._edges.values()), (rows, columns)), (count, count), dtype=np.int32)
        result = maximum_flow(capacities, self._numbers["second"], self._numbers["first"])
        left = capacities - result.flow
        left.eliminate_zeros()
        reached = breadth_first_order(left, self._numbers["second"], return_predecessors=False)
        return int(result.flow_value), set(reached.tolist())


def _undoes(node: ir.Node, perm: Perm) -> bool:
    return _perm(node) == _inverse(perm)


def _follows(node: ir.Node, rank: int) -> bool:
    """Whether `node` can compute in any order of its axes."""
    if node.domain or len(node.outputs) != 1 or len(static_shape(node.outputs[0]) or ()) != rank:
        return False
    if node.op_type in CONVERSIONS:
        if not is_of_tensor(node):
            return False
    elif node.op_type not in ELEMENTWISE and node.op_type not in BY_AXIS:
        return False
    operands = [value for value in node.inputs if value is not None]
    computed = [value for value in operands if constant(value) is None]
    return bool(computed) and all(len(static_shape(value) or ()) == rank for value in computed)


def _move(graph: ir.Graph) -> bool:
    """Let nodes compute in the layout that saves transposes; returns whether that saved any."""
    perms = dict.fromkeys(perm for node in graph if (perm := _perm(node)) is not None)
    for perm in perms:
        moved = _Layouts(graph, perm).moved()
        if moved:
            _apply(graph, perm, moved)
            return True
    return False


def _apply(graph: ir.Graph, perm: Perm, moved: set[ir.Node]) -> None:
    back = _inverse(perm)
    turned: dict[ir.Value, ir.Value] = {}
    nodes = [node for node in graph if node in moved]
    for node in nodes:
        for at, value in enumerate(node.inputs):
            if value is not None and value.producer() not in moved:
                node.replace_input_with(at, _turned(graph, node, value, back, len(perm), turned))
        if node.op_type in BY_AXIS:
            axis = node.attributes.get_int("axis", -1)
            node.attributes["axis"] = ir.AttrInt64("axis", perm[axis])
    for node in nodes:
        value = node.outputs[0]
        shape = static_shape(value)
        assert shape is not None
        value.shape = ir.Shape([shape[axis] for axis in back])
        turn = _transpose(value, perm)
        node.append(turn)
        for use in list(value.uses()):
            if use.node not in moved and use.node is not turn:
                use.node.replace_input_with(use.idx, turn.outputs[0])
        graph.outputs[:] = [turn.outputs[0] if output is value else output for output in list(graph.outputs)]
        value.name, turn.outputs[0].name = f"{value.name}_moved", value.name  # which is what the turn gives now
        _drop_unread(graph, turn)


def _turned(
    graph: ir.Graph, node: ir.Node, value: ir.Value, back: Perm, rank: int, turned: dict[ir.Value, ir.Value]
) -> ir.Value:
    """`value` in the second layout, for `node` and all others."""
    if value not in turned:
        array = constant(value)
        if array is not None:
            turned[value] = (
                value if array.size == 1 and array.ndim <= rank else _turned_constant(graph, value, array, back)
            )
        else:
            step = _transpose(value, back)
            node.prepend(step)
            turned[value] = step.outputs[0]
    return turned[value]


def _turned_constant(graph: ir.Graph, value: ir.Value, array: np.ndarray, back: Perm) -> ir.Value:
    full = array.reshape((1,) * (len(back) - array.ndim) + array.shape)
    return add_constant(graph, full.transpose(back), f"{value.name}_transposed", derived("transposed", value))
