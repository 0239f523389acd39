"""LSTM, GRU and RNN unrolled over time into products and activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from edgesparse.lower.nodes import constant
from edgesparse.lower.relax.builder import Builder, dtype_of, shape_of

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
PLAIN = frozenset({"Sigmoid", "Tanh", "Relu"})
"""Activations without parameters, which these unrolled forms know."""

_Step = Callable[[str, list[str]], list[str]]  # (products of x, states) -> states


def refuse_recurrent(node: ir.Node) -> str | None:
    """Why a recurrent node cannot be unrolled, or None."""
    if len(node.inputs) > 4 and node.inputs[4] is not None:
        return "sequence lengths that vary within a batch"
    if node.attributes.get_float("clip", 0.0):
        return "clipping of cell values"
    if set(node.attributes.get_strings("activations", ())) - PLAIN:
        return "activations other than Sigmoid, Tanh and Relu"
    if node.attributes.get_int("input_forget", 0):
        return "coupled input and forget gates"
    return None


def unroll(node: ir.Node, inputs: Sequence[str], b: Builder) -> list[str]:
    """Y, Y_h and, for LSTM, Y_c."""
    names = [*inputs, *[""] * (8 - len(inputs))]
    shape = shape_of(node.inputs[0])
    batchwise = bool(node.attributes.get_int("layout", 0))
    steps, batch = (shape[1], shape[0]) if batchwise else (shape[0], shape[1])
    x = b("Transpose", names[0], perm=[1, 0, 2]) if batchwise else names[0]
    direction = node.attributes.get_string("direction", "forward")
    reverse = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
    passes = [_Pass(node, names, b, number, batch, batchwise) for number in range(len(reverse))]
    results = [one.run(x, steps, backwards) for one, backwards in zip(passes, reverse, strict=True)]
    hidden = passes[0].hidden
    every = b("Concat", *(b.reshape(outputs, [steps, 1, batch, hidden]) for outputs, _ in results), axis=1)
    last = [b("Concat", *(b.reshape(states[i], [1, batch, hidden]) for _, states in results), axis=0)
            for i in range(len(results[0][1]))]  # fmt: skip
    if batchwise:
        every = b("Transpose", every, perm=[2, 0, 1, 3])
        last = [b("Transpose", state, perm=[1, 0, 2]) for state in last]
    return [every, *last]


class _Pass:
    """One direction: its weights, and the steps over time."""

    def __init__(self, node: ir.Node, names: Sequence[str], b: Builder, number: int, batch: int, batchwise: bool) -> None:
        self.b, self.op, self.batch = b, node.op_type, batch
        self.dtype = dtype_of(node.inputs[0])
        self.hidden = shape_of(node.inputs[2])[2]
        self.reset_after = bool(node.attributes.get_int("linear_before_reset", 0))
        directions = shape_of(node.inputs[1])[0]
        self.width = _GATES[self.op] * self.hidden
        chosen = node.attributes.get_strings("activations", ()) or _ACTIVATIONS[self.op] * directions
        per = len(_ACTIVATIONS[self.op])
        self.activations = [str(a) for a in chosen[number * per : (number + 1) * per]]
        w, r, bias, _, h, c, peephole = (*names[1:8],)
        self.w = self._matrix(w, node.inputs[1], number)
        self.r = self._matrix(r, node.inputs[2], number)
        self.bias_w = self._row(bias, number, 0, self.width)
        self.bias_r = self._row(bias, number, self.width, self.width)
        self.peepholes = [self._row(peephole, number, i * self.hidden, self.hidden) for i in range(3)]
        starts = [h, c] if self.op == "LSTM" else [h]
        self.states = [self._state(name, number, batchwise) for name in starts]

    def _matrix(self, name: str, value: ir.Value | None, number: int) -> str:
        array = constant(value)
        if array is not None:
            return self.b.constant(array[number].T)
        rows, columns = shape_of(value)[1:]
        flat = self.b.reshape(self.b.slice(name, 0, number, number + 1), [rows, columns])
        return self.b("Transpose", flat, perm=[1, 0])

    def _row(self, name: str, number: int, start: int, size: int) -> str | None:
        if not name:
            return None
        return self.b.slice(self.b.reshape(self.b.slice(name, 0, number, number + 1), [-1]), 0, start, start + size)

    def _state(self, name: str, number: int, batchwise: bool) -> str:
        if not name:
            return self.b.constant(np.zeros((self.batch, self.hidden), self.dtype))
        part = self.b.slice(name, 1 if batchwise else 0, number, number + 1)
        return self.b.reshape(part, [self.batch, self.hidden])

    def run(self, x: str, steps: int, backwards: bool) -> tuple[str, list[str]]:
        """All hidden states in the order of the input, and the last states."""
        b, states = self.b, self.states
        products = self._add(b("MatMul", x, self.w), self.bias_w)
        outputs: dict[int, str] = {}
        for t in reversed(range(steps)) if backwards else range(steps):
            now = b.reshape(b.slice(products, 0, t, t + 1), [self.batch, self.width])
            states = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self.op](now, states)
            outputs[t] = b.reshape(states[0], [1, self.batch, self.hidden])
        return b("Concat", *(outputs[t] for t in range(steps)), axis=0), states

    def _add(self, value: str, other: str | None) -> str:
        return value if other is None else self.b("Add", value, other)

    def _gate(self, value: str, number: int, count: int = 1) -> str:
        return self.b.slice(value, 1, number * self.hidden, (number + count) * self.hidden)

    def _rnn(self, now: str, states: list[str]) -> list[str]:
        recurrent = self._add(self.b("MatMul", states[0], self.r), self.bias_r)
        return [self.b(self.activations[0], self.b("Add", now, recurrent))]

    def _lstm(self, now: str, states: list[str]) -> list[str]:
        b, (h, c) = self.b, states
        f, g, last = self.activations
        gates = b("Add", now, self._add(b("MatMul", h, self.r), self.bias_r))
        peep = [p and b("Mul", p, c) for p in self.peepholes]
        i = b(f, self._add(self._gate(gates, 0), peep[0]))
        forget = b(f, self._add(self._gate(gates, 2), peep[2]))
        cell = b("Add", b("Mul", forget, c), b("Mul", i, b(g, self._gate(gates, 3))))
        o = b(f, self._add(self._gate(gates, 1), self.peepholes[1] and b("Mul", self.peepholes[1], cell)))
        return [b("Mul", o, b(last, cell)), cell]

    def _gru(self, now: str, states: list[str]) -> list[str]:
        b, h = self.b, states[0]
        f, g = self.activations
        hidden = self.hidden
        gates = b("MatMul", h, b.slice(self.r, 1, 0, 2 * hidden))
        gates = b("Add", self._gate(now, 0, 2), self._add(gates, self.bias_r and b.slice(self.bias_r, 0, 0, 2 * hidden)))
        z, r = b(f, self._gate(gates, 0)), b(f, self._gate(gates, 1))
        last = b.slice(self.r, 1, 2 * hidden, 3 * hidden)
        bias = self.bias_r and b.slice(self.bias_r, 0, 2 * hidden, 3 * hidden)
        if self.reset_after:
            candidate = b("Mul", r, self._add(b("MatMul", h, last), bias))
        else:
            candidate = self._add(b("MatMul", b("Mul", r, h), last), bias)
        new = b(g, b("Add", self._gate(now, 2), candidate))
        one = b.constant(np.array(1, self.dtype))
        return [b("Add", b("Mul", b("Sub", one, z), new), b("Mul", z, h))]
