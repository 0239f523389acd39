"""What a model's values are made of: the atoms along every axis, and what has to change when some of them go.

Source: Fang et al. 2023, "DepGraph: Towards Any Structural Pruning", arXiv:2301.12900: what is coupled goes together.
Here the coupling is found per index of an axis, so that Concat, Split and padded channels need no special case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from edgesparse.errors import InternalError
from edgesparse.prune.structured.atoms import Atoms, Labels
from edgesparse.prune.structured.probe import Probe

Axes: TypeAlias = "list[Labels | None]"
"""Labels of each axis of a value; None where the axis never changes."""

Keep = Callable[[Labels], np.ndarray]
"""Which of these atoms stay, as a mask."""

Fix = Callable[[Keep], None]
"""Adapts an operator's attributes and constants to what stays."""


@dataclass(frozen=True, eq=False)
class Use:
    """A constant that an operator reads, with the atoms along its axes. `role`: "weight", "scale" or "other"."""

    node: ir.Node
    index: int
    labels: tuple[Labels | None, ...]
    role: str

    @property
    def value(self) -> ir.Value:
        """The constant."""
        value = self.node.inputs[self.index]
        assert value is not None
        return value


@dataclass(frozen=True)
class FlowLayer:
    """A weighted layer: a multiply-accumulate for each element of the weight, `positions` times.

    It sums over `axis` of `data`, and makes the axis `made` of its output.
    """

    node: ir.Node
    weight: Use
    data: ir.Value
    axis: int
    positions: int

    @property
    def name(self) -> str:
        """Name of the node, or of its output."""
        return name_of(self.node)

    @property
    def made(self) -> int:
        """The axis of the output along which the rows of the weight lie."""
        return 1 if "Conv" in self.node.op_type else -2 if self.weight.index == 0 else -1


@dataclass(frozen=True)
class Made:
    """An axis that a node makes: atoms from `start` on."""

    node: ir.Node
    start: int
    count: int


class Flow:
    """The atoms along every axis of every value, filled in by the rules of the operators in the order of the graph.

    Args:
        choices: which factor of a split axis its atoms follow, by the name of the value; the first by default.
        resizes: whether axes are to get smaller, or their atoms only to change places.
    """

    def __init__(self, model: ir.Model, probe: Probe, choices: dict[str, int], *, resizes: bool) -> None:
        self.model, self.probe, self.atoms, self.choices, self.resizes = model, probe, Atoms(), choices, resizes
        self.opset = int(model.graph.opset_imports.get("", 0))
        self.made: list[Made] = []
        self.uses: list[Use] = []
        self.layers: list[FlowLayer] = []
        self.fixes: list[Fix] = []
        self.splits: dict[str, tuple[Labels, int]] = {}
        self.extents: dict[str, np.ndarray] = {}  # of a computed shape: the labels of the axis behind each element
        self._axes: dict[str, Axes] = {}

    def shape(self, value: ir.Value | None) -> tuple[int, ...]:
        """Shape at batch 1."""
        assert value is not None
        return self.probe.shape(str(value.name))

    def is_constant(self, value: ir.Value | None) -> bool:
        """Whether no input decides `value`."""
        return value is not None and value.name in self.probe.constant

    def known(self, value: ir.Value | None) -> np.ndarray | None:
        """The value where constants and static shapes alone decide it."""
        return None if value is None else self.probe.known(str(value.name))

    def axes(self, value: ir.Value | None) -> Axes:
        """Labels of each axis of `value`."""
        assert value is not None
        return list(self._axes.get(str(value.name)) or [None] * len(self.shape(value)))

    def orders(self) -> list[Labels]:
        """The labels of every axis there is; axes with the same ones count once."""
        return list(
            {id(labels): labels for axes in self._axes.values() for labels in axes if labels is not None}.values()
        )

    def put(self, value: ir.Value, axes: Sequence[Labels | None]) -> None:
        """Set the labels of what a node makes; an axis of dynamic size or of a single element must stay."""
        shape = self.shape(value)
        lengths = tuple(size if labels is None else len(labels) for size, labels in zip(shape, axes, strict=True))
        if lengths != shape:
            raise InternalError(f"{value.name}: labels for {lengths}, shape {shape}")
        followed = list(axes)
        for axis, labels in enumerate(axes):
            dynamic = self.probe.is_dynamic(str(value.name), axis)
            if dynamic or shape[axis] == 1:
                self.freeze(labels, "its size is dynamic" if dynamic else "a part of one element is taken")
                followed[axis] = None
        self._axes[str(value.name)] = followed

    def resized(self, keep: Keep) -> dict[str, dict[int, int]]:
        """New sizes by value and axis."""
        return {
            name: {axis: int(keep(labels).sum()) for axis, labels in enumerate(axes) if labels is not None}
            for name, axes in self._axes.items()
        }

    def fresh(self, count: int, node: ir.Node) -> Labels | None:
        """Atoms for an axis that `node` makes; None for a single one, which broadcasts and stays."""
        if count == 1:
            return None
        labels = self.atoms.fresh(count)
        self.made.append(Made(node, int(labels[0]), count))
        return labels

    def free(self, labels: Labels) -> bool:
        """Whether any of these atoms may go."""
        return any(self.atoms.frozen(atom) is None for atom in labels.tolist())

    def still(self, count: int, reason: str) -> Labels:
        """Atoms that stay, for a part of an axis."""
        labels = self.atoms.fresh(count)
        self.atoms.freeze(labels, reason)
        return labels

    def unite(self, one: Labels | None, other: Labels | None, reason: str) -> Labels | None:
        """Couple two axes index by index; if one of them stays, both stay."""
        if one is None or other is None:
            self.freeze(one, reason)
            self.freeze(other, reason)
            return one if other is None else other
        self.atoms.unite(one, other)
        return one

    def freeze(self, labels: Labels | None, reason: str) -> None:
        """Keep an axis as it is."""
        if labels is not None:
            self.atoms.freeze(labels, reason)

    def keep_size(self, labels: Labels | None, reason: str) -> None:
        """Keep as many as there are, in whatever order."""
        if self.resizes:
            self.freeze(labels, reason)

    def freeze_value(self, value: ir.Value | None, reason: str) -> None:
        """Keep all axes of a value as they are."""
        if value is None:
            return
        for labels in [*self._axes.get(str(value.name), ()), *self.extents.get(str(value.name), np.empty(0)).flat]:
            self.freeze(labels, reason)

    def decline(self, node: ir.Node, reason: str | None = None) -> None:
        """Keep everything that `node` reads as it is; what it makes is not followed."""
        for value in node.inputs:
            self.freeze_value(value, reason or f"{node.op_type} reads it")

    def use_broadcast(self, node: ir.Node, index: int, axes: Axes) -> None:
        """Record that `node` reads a constant whose last axes run along the last ones of `axes`, or are spread."""
        shape = self.shape(node.inputs[index])
        own = axes[len(axes) - len(shape) :]
        self.use(node, index, [None if size == 1 else labels for size, labels in zip(shape, own, strict=True)])

    def use(self, node: ir.Node, index: int, labels: Sequence[Labels | None], role: str = "other") -> Use:
        """Record that `node` reads a constant with these labels along its axes."""
        use = Use(node, index, tuple(labels), role)
        source = use.value.producer()
        alone = source is not None and source.op_type == "DequantizeLinear" and len(use.value.uses()) == 1
        if source is not None and alone and not source.attributes.get_int("block_size", 0):
            self.use(source, 0, labels)
            for at, value in enumerate(source.inputs[1:], 1):
                if value is not None and prod(self.shape(value)) > 1:
                    self.use(source, at, [labels[source.attributes.get_int("axis", 1)]])
        elif use.value.name in self.probe.quantized:
            for axis in labels:
                self.freeze(axis, f"{name_of(node)} is quantized")
        elif any(axis is not None for axis in labels):
            self.uses.append(use)
        return use


def name_of(node: ir.Node) -> str:
    """Name of a node, or of its output."""
    return node.name or str(node.outputs[0].name)
