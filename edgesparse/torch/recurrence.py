"""LSTM and GRU of ONNX as torch functions, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch

States = tuple[torch.Tensor, ...]
Step = Callable[[torch.Tensor, States, torch.Tensor, torch.Tensor], States]
"""What gates of the inputs [batch, gates * H] make of the states [batch, H], by w[gates * H, H] and its bias."""

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
USUAL = {"direction", "hidden_size", "linear_before_reset", "input_forget", "layout"}


def lstm(node: ir.Node, inputs: Sequence[Any]) -> States:
    """All outputs, the last one, and the last cell."""

    def step(gates: torch.Tensor, states: States, w: torch.Tensor, bias: torch.Tensor) -> States:
        hidden, cell = states
        enter, leave, forget, new = (gates + hidden @ w.T + bias).chunk(4, -1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        return leave.sigmoid() * cell.tanh(), cell

    return _run(node, inputs, step, states=2)


def gru(node: ir.Node, inputs: Sequence[Any]) -> States:
    """All outputs, and the last one."""
    before_reset = node.attributes.get_int("linear_before_reset", 0) == 1

    def step(gates: torch.Tensor, states: States, w: torch.Tensor, bias: torch.Tensor) -> States:
        (hidden,), size = states, 2 * w.shape[1]
        update, reset = (gates[:, :size] + hidden @ w[:size].T + bias[:size]).sigmoid().chunk(2, -1)
        if before_reset:
            held = reset * (hidden @ w[size:].T + bias[size:])
        else:
            held = (reset * hidden) @ w[size:].T + bias[size:]
        return (update * hidden + (1 - update) * (gates[:, size:] + held).tanh(),)

    return _run(node, inputs, step, states=1)


def _run(node: ir.Node, inputs: Sequence[Any], step: Step, *, states: int) -> States:
    """Y [T, directions, batch, H], and the last of each state [directions, batch, H].

    Shapes: x [T, batch, K], w [directions, gates * H, K], r [directions, gates * H, H], b [directions, 2 * gates * H].
    """
    x, w, r, bias, lengths, *first = [*inputs, *[None] * (8 - len(inputs))][:8]
    odd = set(node.attributes) - USUAL or any(node.attributes.get_int(name, 0) for name in ("layout", "input_forget"))
    if odd or lengths is not None or any(each is not None for each in first[states:]):
        raise NotImplementedError
    outputs, lasts = [], []
    for at, backward in enumerate(DIRECTIONS[node.attributes.get_string("direction", "forward")]):
        of_input, of_state = x.new_zeros(2, r.shape[1]) if bias is None else bias[at].chunk(2)
        gates = x @ w[at].T + of_input
        held = tuple(x.new_zeros(x.shape[1], r.shape[2]) if each is None else each[at] for each in first[:states])
        made = []
        for now in reversed(gates) if backward else gates:
            held = step(now, held, r[at], of_state)
            made.append(held[0])
        outputs.append(torch.stack(made[::-1] if backward else made))
        lasts.append(held)
    return torch.stack(outputs, 1), *(torch.stack(each) for each in zip(*lasts, strict=True))
