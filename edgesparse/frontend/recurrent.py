"""Write recurrent operators out: LSTM, GRU and RNN over a static sequence become one MatMul for all inputs, then
a chain of steps.

The weights of a step are the same arrays at every step, so that they are stored and compiled once.

Source: the operator definitions of ONNX opset 14; Hochreiter and Schmidhuber 1997; Cho et al. 2014,
arXiv:1406.1078.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.frontend.fold import add_constant
from edgesparse.graph.provenance import derived

MAX_STEPS = 512
"""A longer sequence stays as it is: the chain would outgrow the rest of the model."""

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_PLAIN = frozenset({"Sigmoid", "Tanh", "Relu", "Softsign", "Softplus"})


def expand_recurrent(model: ir.Model) -> None:
    """Replace, in place, every LSTM, GRU and RNN that can be written out; the others stay for the error report."""
    for node in list(model.graph):
        if node.op_type in _GATES and node.domain in ("", "ai.onnx") and why_kept(node) is None:
            _Expansion(model.graph, node).apply()


def why_kept(node: ir.Node) -> str | None:
    """Why a recurrent operator is not written out; None for one that can be, and for every other operator."""
    if node.op_type not in _GATES or node.domain not in ("", "ai.onnx"):
        return None
    x = node.inputs[0]
    if x is None or x.shape is None or not x.shape.is_static():
        return "the length of its input is not known"
    for at, what in ((1, "weights"), (2, "weights"), (3, "bias"), *(((7, "peepholes"),) if _is_lstm(node) else ())):
        given = len(node.inputs) > at and node.inputs[at] is not None
        if (given or at < 3) and _array(node, at) is None:
            return f"its {what} are no constants"
    if node.attributes.get("clip") is not None or node.attributes.get_int("input_forget", 0) == 1:
        return "attributes clip and input_forget are not known"
    steps = int(x.shape[1 if node.attributes.get_int("layout", 0) else 0])  # type: ignore[arg-type]
    lengths = _array(node, 4)
    if len(node.inputs) > 4 and node.inputs[4] is not None and (lengths is None or (lengths != steps).any()):
        return "sequences of a length of their own, sequence_lens; leave it out"
    if steps > MAX_STEPS:
        return f"a sequence of {steps} steps, at most {MAX_STEPS} can be written out"
    unknown = sorted(set(_activations(node)) - _PLAIN)
    return f"activations {', '.join(unknown)}; known are {', '.join(sorted(_PLAIN))}" if unknown else None


def _is_lstm(node: ir.Node) -> bool:
    return node.op_type == "LSTM"


def _array(node: ir.Node, at: int) -> np.ndarray | None:
    if len(node.inputs) <= at or node.inputs[at] is None or node.inputs[at].const_value is None:  # type: ignore[union-attr]
        return None
    return node.inputs[at].const_value.numpy()  # type: ignore[union-attr]


def _activations(node: ir.Node) -> tuple[str, ...]:
    attribute = node.attributes.get("activations")
    directions = 2 if node.attributes.get_string("direction", "forward") == "bidirectional" else 1
    if attribute is None:
        return _DEFAULTS[node.op_type] * directions
    return tuple(str(name) for name in attribute.as_strings())


_State = tuple[ir.Value, ir.Value | None]
"""Hidden state and, of an LSTM, cell."""


@dataclass(frozen=True, eq=False)
class _Weights:
    """What the steps of one direction share; `halves` are the biases of the input and of the state."""

    recurrent: ir.Value
    halves: np.ndarray
    functions: Sequence[Callable[[ir.Value], ir.Value]]
    direction: int


@dataclass(frozen=True, eq=False)
class _Run:
    """Results of one direction: the state after each step, the last one, and the last cell of an LSTM."""

    states: list[ir.Value]
    last: ir.Value
    cell: ir.Value | None


class _Expansion:
    """One operator being written out; `_add` appends a node and returns its value."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self.graph, self.node = graph, node
        self.nodes: list[ir.Node] = []
        self.constants: dict[tuple[object, ...], ir.Value] = {}  # the steps share theirs
        self.gates = _GATES[node.op_type]
        self.biases = 3 if _array(node, 3) is not None else None
        recurrent = _array(node, 2)
        assert recurrent is not None
        self.directions, self.hidden = recurrent.shape[0], recurrent.shape[2]
        self.batch_first = bool(node.attributes.get_int("layout", 0))
        x = node.inputs[0]
        assert x is not None and x.shape is not None
        first, second, self.features = (int(d) for d in x.shape)  # type: ignore[arg-type]
        self.steps, self.batch = (second, first) if self.batch_first else (first, second)

    def apply(self) -> None:
        x = self.node.inputs[0]
        assert x is not None
        if self.batch_first:
            x = self._add("Transpose", [x], perm=[1, 0, 2])
        results = [self._direction(x, d) for d in range(self.directions)]
        whole = self._join([self._join([self._lift(h, 2) for h in r.states], 0) for r in results], 1)
        outputs = [whole, self._join([self._lift(r.last, 1) for r in results], 0)]
        if self.node.op_type == "LSTM":
            outputs.append(self._join([self._lift(r.cell, 1) for r in results], 0))
        if self.batch_first:
            orders = ([2, 0, 1, 3], [1, 0, 2], [1, 0, 2])
            outputs = [self._add("Transpose", [v], perm=p) for v, p in zip(outputs, orders, strict=False)]
        pairs = [
            (o, n)
            for o, n in zip(self.node.outputs, outputs, strict=False)
            if o.name and (o.uses() or o.is_graph_output())
        ]
        ir.convenience.replace_nodes_and_values(
            self.graph, self.node, [self.node], self.nodes, [o for o, _ in pairs], [n for _, n in pairs]
        )

    def _direction(self, x: ir.Value, d: int) -> _Run:
        """All steps of one direction; every state is [batch, hidden]."""
        backward = d == 1 or self.node.attributes.get_string("direction", "forward") == "reverse"
        w, r = (self._constant(_array(self.node, at)[d].T, name, at) for at, name in ((1, "w"), (2, "r")))  # type: ignore[index]
        bias = _array(self.node, 3)
        halves = np.zeros((2, self.gates * self.hidden), np.float32) if bias is None else bias[d].reshape(2, -1)
        names = _activations(self.node)
        per = len(names) // self.directions
        functions = [self._function(name) for name in names[d * per : (d + 1) * per]]
        flat = self._add("Reshape", [x, self._integers([self.steps * self.batch, self.features])])
        projected = self._add("MatMul", [flat, w])
        hidden, cell = self._initial(5, d), self._initial(6, d) if self.node.op_type == "LSTM" else None
        weights = _Weights(r, halves, functions, d)
        states: list[ir.Value] = [hidden] * self.steps
        step = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self.node.op_type]
        for t in reversed(range(self.steps)) if backward else range(self.steps):
            xt = self._slice(projected, 0, t * self.batch, (t + 1) * self.batch)
            hidden, cell = step(xt, hidden, cell, weights)
            states[t] = hidden
        return _Run(states, hidden, cell)

    def _lstm(self, xt: ir.Value, h: ir.Value, c: ir.Value | None, weights: _Weights) -> _State:
        assert c is not None
        gate, squash, out = weights.functions
        total = self._total(xt, h, weights)
        i, o, f, g = (self._gate(total, k) for k in range(4))
        peephole = _array(self.node, 7)
        if peephole is not None:
            pi, po, pf = (self._constant(p, "p", 7) for p in peephole[weights.direction].reshape(3, -1))
            i, f = self._sum(i, self._product(pi, c)), self._sum(f, self._product(pf, c))
        cell = self._sum(self._product(gate(f), c), self._product(gate(i), squash(g)))
        if peephole is not None:
            o = self._sum(o, self._product(po, cell))
        return self._product(gate(o), out(cell)), cell

    def _gru(self, xt: ir.Value, h: ir.Value, c: ir.Value | None, weights: _Weights) -> _State:
        gate, squash = weights.functions
        halves = weights.halves
        at = 2 * self.hidden
        if self.node.attributes.get_int("linear_before_reset", 0):
            inner = self._sum(self._add("MatMul", [h, weights.recurrent]), self._constant(halves[1], "rb", self.biases))
            outer = self._sum(xt, self._constant(halves[0], "wb", self.biases))
            z, reset = (gate(self._sum(self._gate(outer, k), self._gate(inner, k))) for k in range(2))
            new = squash(self._sum(self._gate(outer, 2), self._product(reset, self._gate(inner, 2))))
        else:
            recurrent = _array(self.node, 2)[weights.direction].T  # type: ignore[index]
            both, last = (self._constant(part, "r", 2) for part in (recurrent[:, :at], recurrent[:, at:]))
            outer = self._sum(xt, self._constant(halves.sum(0), "b", self.biases))
            inner = self._add("MatMul", [h, both])
            z, reset = (gate(self._sum(self._gate(outer, k), self._gate(inner, k))) for k in range(2))
            new = squash(self._sum(self._gate(outer, 2), self._add("MatMul", [self._product(reset, h), last])))
        one = self._constant(np.ones(1, np.float32), "one")
        return self._sum(self._product(self._add("Sub", [one, z]), new), self._product(z, h)), None

    def _rnn(self, xt: ir.Value, h: ir.Value, c: ir.Value | None, weights: _Weights) -> _State:
        return weights.functions[0](self._total(xt, h, weights)), None

    def _total(self, xt: ir.Value, h: ir.Value, weights: _Weights) -> ir.Value:
        """What the input, the state before and both biases add up to, for every gate."""
        states = self._add("MatMul", [h, weights.recurrent])
        return self._sum(self._sum(xt, states), self._constant(weights.halves.sum(0), "b", self.biases))

    def _initial(self, at: int, d: int) -> ir.Value:
        shape = [self.batch, self.hidden]
        if len(self.node.inputs) <= at or self.node.inputs[at] is None:
            return self._constant(np.zeros(shape, np.float32), "zero")
        axis = 1 if self.batch_first else 0
        return self._add("Reshape", [self._slice(self.node.inputs[at], axis, d, d + 1), self._integers(shape)])

    def _function(self, name: str) -> Callable[[ir.Value], ir.Value]:
        return lambda value: self._add(name, [value])

    def _gate(self, value: ir.Value, k: int) -> ir.Value:
        return self._slice(value, 1, k * self.hidden, (k + 1) * self.hidden)

    def _slice(self, value: ir.Value | None, axis: int, begin: int, end: int) -> ir.Value:
        return self._add("Slice", [value, *(self._integers([i]) for i in (begin, end, axis))])

    def _sum(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self._add("Add", [a, b])

    def _product(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self._add("Mul", [a, b])

    def _join(self, values: Sequence[ir.Value], axis: int) -> ir.Value:
        return self._add("Concat", list(values), axis=axis) if len(values) > 1 else values[0]

    def _lift(self, value: ir.Value | None, leading: int) -> ir.Value:
        """[batch, hidden] with `leading` axes of one in front."""
        return self._add("Reshape", [value, self._integers([1] * leading + [self.batch, self.hidden])])

    def _integers(self, values: Sequence[int]) -> ir.Value:
        return self._constant(np.array(values, np.int64), "i")

    def _constant(self, array: np.ndarray, kind: str, at: int | None = None) -> ir.Value:
        """A constant, made of the operand number `at` if that is given."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            origins = () if at is None else derived("transposed", self.node.inputs[at])
            self.constants[key] = add_constant(
                self.graph, array, f"{self.node.name}_{kind}", [origin.then("sliced") for origin in origins]
            )
        return self.constants[key]

    def _add(self, op: str, inputs: Sequence[ir.Value | None], **attributes: object) -> ir.Value:
        node = ir.node(op, list(inputs), attributes=attributes, name=f"{self.node.name}_{op}_{len(self.nodes)}")  # type: ignore[arg-type]
        node.outputs[0].name = f"{node.name}_out"
        self.nodes.append(node)
        return node.outputs[0]
