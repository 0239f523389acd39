"""Operators that merge and split axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.prune.structured.atoms import Labels
from edgesparse.prune.structured.extents import fit_shape
from edgesparse.prune.structured.flow import Axes, Flow, name_of


def reshape(flow: Flow, node: ir.Node) -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze: axes are merged and split."""
    before, after = flow.shape(node.inputs[0]), flow.shape(node.outputs[0])
    axes = flow.axes(node.inputs[0])
    if 0 in before:
        return flow.decline(node)
    made: Axes = [None] * len(after)
    for ins, outs in blocks(before, after):
        flat = _merge(flow, node, [before[axis] for axis in ins], [axes[axis] for axis in ins])
        if flat is not None:
            parts = _split(flow, node, flat, [after[axis] for axis in outs])
            for axis, labels in zip(outs, parts, strict=True):
                made[axis] = labels
    flow.put(node.outputs[0], made)
    if node.op_type == "Reshape":
        fit_shape(flow, node, flow.axes(node.outputs[0]))
    return None


def blocks(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[range, range]]:
    """The smallest runs of axes with equal products, in order."""
    i = j = 0
    while i < len(before) or j < len(after):
        ins, outs = i, j
        p, q = prod(before[i : i + 1]), prod(after[j : j + 1])
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while p != q:
            if p < q:
                p, i = p * before[i], i + 1
            else:
                q, j = q * after[j], j + 1
        yield range(ins, i), range(outs, j)


def _merge(flow: Flow, node: ir.Node, sizes: list[int], axes: Axes) -> Labels | None:
    """Labels of axes flattened into one."""
    followed = [at for at, labels in enumerate(axes) if labels is not None]
    if len(followed) > 1:
        for labels in axes:
            flow.freeze(labels, f"{name_of(node)} merges it with another that can get smaller")
    if len(followed) != 1:
        return None
    at = followed[0]
    labels = axes[at]
    assert labels is not None
    along = labels.reshape([-1 if axis == at else 1 for axis in range(len(sizes))])
    return np.broadcast_to(along, sizes).reshape(-1)


def _split(flow: Flow, node: ir.Node, flat: Labels, sizes: list[int]) -> Axes:
    """Labels of one axis split into several: they follow one, and what shares an index of it goes together."""
    factors = [at for at, size in enumerate(sizes) if size > 1]
    if not factors:
        flow.freeze(flat, "a part of one element is taken")
        return [None] * len(sizes)
    rows = {at: np.moveaxis(flat.reshape(sizes), at, 0).reshape(sizes[at], -1) for at in factors}
    chosen = next((at for at in factors if (rows[at] == rows[at][:, :1]).all()), None)
    if chosen is None:
        name = str(node.outputs[0].name)
        chosen = factors[min(flow.choices.get(name, 0), len(factors) - 1)]
        flow.splits[name] = (flat, len(factors))
        for column in rows[chosen].T[1:]:
            flow.atoms.unite(rows[chosen][:, 0], column)
    return [rows[at][:, 0] if at == chosen else None for at in range(len(sizes))]


RULES = dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), reshape)
