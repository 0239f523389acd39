"""What weighted layers would take as bytes whose zeros fill whole words: predicted, from layers made up for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from edgesparse.devices.targets import Target
from edgesparse.graph.ops import Weighted
from edgesparse.graph.quads import quads_layer
from edgesparse.graph.windows import window_of
from edgesparse.nodes import constant
from edgesparse.numerics import I32, QUAD_I8, Element, Numerics
from edgesparse.plan import Plan
from edgesparse.schedule.choose import cost_table, plan_layer

LARGEST = 127
WORTH = 0.1
"""Share of the time that must be saved to be told."""


@dataclass(frozen=True)
class Advice:
    """How the same weights would be faster: `change`, such as "as 1x4 blocks", to `us` of all weighted layers."""

    change: str
    us: float


def advice(plan: Plan, target: Target, threads: int = 1) -> Advice | None:
    """What bytes, and blocks of as many zeros, would make of the weighted layers; None where that is not worth telling.

    Layers that cannot run on words keep the time they have.
    """
    dotted, total, becomes_bytes, has_zeros = target.cpu.dotted, 0.0, False, False
    if dotted is None:
        return None
    table = cost_table(target)
    for op in plan.graph.weighted:
        planned, weight = plan.layers[op.layer.name], _bytes(op)
        changed = _in_words(op, weight, dotted)
        us = planned.predicted_us if changed is None else plan_layer(changed, target.cpu, table, threads).predicted_us
        if us < planned.predicted_us:
            becomes_bytes |= op.sums is None
            has_zeros |= bool((weight == 0).any())
        total += min(us, planned.predicted_us)
    before = sum(planned.predicted_us for planned in plan.layers.values())
    if total > (1.0 - WORTH) * before:
        return None
    words = ("int8 with 1x4 blocks" if has_zeros else "int8") if becomes_bytes else "1x4 blocks"
    return Advice(f"as {words}", total)


def _bytes(op: Weighted) -> np.ndarray:
    """The weight in int8, or the sizes of one that is not, as ONNX lays it out; only what is zero becomes zero."""
    if op.sums is not None:
        return op.sums.weight
    weight = constant(op.layer.node.inputs[1])
    assert weight is not None  # that of a layer is
    sizes = np.nan_to_num(np.abs(weight.astype(np.float64)), posinf=0.0)
    found: np.ndarray = np.ceil(sizes / max(float(sizes.max()), 1e-300) * LARGEST).clip(0, LARGEST).astype(np.int8)
    return found


def _in_words(op: Weighted, weight: np.ndarray, dotted: Element) -> Weighted | None:
    """The layer with the same share of nonzeros, in the words that weigh most; None where it does not run on words, or
    on few less than it does."""
    node = op.layer.node
    window = window_of(node, weight.shape[2:]) if node.op_type == "Conv" else None
    if node.op_type == "Conv" and window is None:
        return None
    numerics = Numerics(dotted, QUAD_I8, I32, dotted) if op.sums is None else op.layer.numerics
    layer = quads_layer(node, window, weight, numerics)
    if layer is None:
        return None
    words = layer.weight
    sizes = np.abs(words.view(np.int8).astype(np.int32)).reshape(-1, QUAD_I8.channels).sum(axis=1)
    stay = ceil(words.size * np.count_nonzero(weight) / weight.size)
    if op.sums is not None and stay > (1.0 - WORTH) * np.count_nonzero(words):
        return None
    kept = words.reshape(-1).copy()
    kept[np.argsort(-sizes, kind="stable")[stay:]] = 0
    return replace(op, layer=replace(layer, _stored=kept.reshape(words.shape)))
