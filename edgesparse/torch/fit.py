"""Two networks side by side, what of the smaller one is fitted, and how far it is from the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from edgesparse import reference
from edgesparse.errors import OnnxRuntimeError, PruneError
from edgesparse.torch.batches import Batches, Feeds
from edgesparse.torch.channels import Left, left
from edgesparse.torch.network import Network, Values

WEIGHTS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (1,), "MatMul": (0, 1), "LSTM": (1, 2), "GRU": (1, 2)}
"""Inputs of operators that are fitted where they are constant, but for their zeros."""
OFFSETS = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm"), (2,)),
    **dict.fromkeys(("LSTM", "GRU"), (3,)),
    **dict.fromkeys(("BatchNormalization", "LayerNormalization"), (1, 2)),
    "Add": (0, 1),
}
"""Inputs whose every element is fitted, zeros too; but no single number that is added, such as a norm's epsilon."""
MOVES = ("Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
"""What may lie between a weight and its layer."""

NEAR = 1e-3  # what torch may differ by from ONNX Runtime, over the largest magnitude


@dataclass(frozen=True)
class Fit:
    """The networks, the values that are compared, what errors are divided by, and what is `left` of smaller blocks."""

    student: Network
    teacher: Network
    blocks: Sequence[str]
    outputs: Sequence[str]
    scales: Mapping[str, float]
    left: Mapping[str, Left]

    @classmethod
    def between(cls, sparse: ir.Model, dense: ir.Model, batches: Batches) -> Fit:
        """Two models of one network.

        Raises: PruneError: they are not, nothing can be fitted, or torch computes something else than ONNX Runtime.
        """
        _require_alike(sparse, dense)
        student, teacher = Network(sparse), Network(dense)
        outputs = [str(value.name) for value in dense.graph.outputs]
        made = {str(value.name) for node in student.graph for value in node.outputs}
        blocks = [name for name in _blocks(teacher, fitted(teacher.graph)[0]) if name in made]
        feeds, names = next(batches.held_out()), [*dict.fromkeys((*blocks, *outputs))]
        with torch.no_grad():
            exact, found = teacher.run(feeds, names), student.run(feeds, names)
        _require_exact(dense, feeds, exact)
        _require_shapes(outputs, exact, found)
        kept = {name: some for name in names if (some := left(exact[name], found[name])) is not None}
        alike = {name for name in names if name in kept or exact[name].shape == found[name].shape}
        names = [name for name in names if exact[name].is_floating_point() and name in alike]
        squares, variances = _moments(teacher, batches, names)
        scales = {name: variances[name] if name in outputs else squares[name] for name in names}
        blocks, outputs = ([name for name in names if name in of] for of in (blocks, outputs))
        return cls(student, teacher, blocks, outputs, scales, kept)

    def loss(self, feeds: Feeds) -> torch.Tensor:
        """The mean error of the blocks plus that of the outputs."""
        names = [*dict.fromkeys((*self.blocks, *self.outputs))]
        with torch.no_grad():
            exact = self._exact(feeds, names)
        found = self.student.run(feeds, names)
        errors = {name: (found[name] - exact[name]).square().mean() / self.scales[name] for name in names}
        return sum((_mean([errors[name] for name in of]) for of in (self.blocks, self.outputs)), torch.zeros(()))

    def held_out(self, batches: Batches) -> float:
        """The mean error of the outputs on the samples held out, or of the blocks where outputs are integers.

        Blocks may err more where outputs err less.
        """
        names = self.outputs or self.blocks
        wrong, count = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
        with torch.no_grad():
            for feeds in batches.held_out():
                exact, found = self._exact(feeds, names), self.student.run(feeds, names)
                for name in names:
                    wrong[name] += float((found[name] - exact[name]).square().sum())
                    count[name] += exact[name].numel()
        return float(np.mean([wrong[name] / count[name] / self.scales[name] for name in names]))

    def _exact(self, feeds: Feeds, names: Sequence[str]) -> Values:
        """What the student should give."""
        exact = self.teacher.run(feeds, names)
        return exact | {name: self.left[name].of(exact[name]) for name in names if name in self.left}


def fitted(graph: ir.Graph) -> tuple[list[str], list[str]]:
    """Constants whose nonzeros are fitted, and those of which all is: only layers and norms read them.

    Raises: PruneError: there are none.
    """
    weights, offsets = [], []
    for name, value in graph.initializers.items():
        array = value.const_value
        if array is None or array.dtype != ir.DataType.FLOAT or value.is_graph_output():
            continue
        uses = [(node.op_type, at) for node, at in _uses(value)]
        if uses and all(at in WEIGHTS.get(op, ()) for op, at in uses):
            weights.append(name)
        elif uses and all(at in OFFSETS.get(op, ()) and (op, array.size) != ("Add", 1) for op, at in uses):
            offsets.append(name)
    if not weights:
        raise PruneError("recover: the model has no float32 weights that can be fitted")
    return weights, offsets


def _uses(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """Who reads a constant, and at which input, seen through what only moves its elements."""
    for use in value.uses():
        if use.node.op_type in MOVES and use.idx == 0:
            yield from _uses(use.node.outputs[0])
        else:
            yield use.node, use.idx


def _blocks(network: Network, weights: Sequence[str]) -> list[str]:
    """Values at which blocks end: sums of what layers give, or what each layer gives where there are fewer than two."""
    layers = {id(node) for name in weights for node, _ in _uses(network.graph.initializers[name])}
    behind: set[str] = set()
    sums, singles = [], []
    for node in network.graph:
        follows = [value is not None and str(value.name) in behind for value in node.inputs]
        outputs = [str(value.name) for value in node.outputs if value.name]
        if any(follows) or id(node) in layers:
            behind.update(outputs)
        if node.op_type == "Add" and all(follows):
            sums.append(outputs[0])
        if id(node) in layers:
            singles.append(outputs[0])
    return sums if len(sums) > 1 else singles


def _moments(network: Network, batches: Batches, names: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean square and variance of values on the samples held out; never zero."""
    sums = {name: np.zeros(3) for name in names}
    with torch.no_grad():
        for feeds in batches.held_out():
            for name, found in network.run(feeds, names).items():
                wide = found.double()
                sums[name] += [wide.numel(), float(wide.sum()), float(wide.square().sum())]
    squares = {name: square / count or 1.0 for name, (count, _, square) in sums.items()}
    variances = {name: squares[name] - (total / count) ** 2 for name, (count, total, _) in sums.items()}
    return squares, {name: max(variances[name], 1e-6 * squares[name]) for name in names}


def _mean(errors: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([*errors]).mean() if errors else torch.zeros(())


def _require_alike(sparse: ir.Model, dense: ir.Model) -> None:
    """Check that two models take and give the same."""
    for kind in ("inputs", "outputs"):
        one, other = (
            [str(value.name) for value in getattr(model.graph, kind) if value.name not in model.graph.initializers]
            for model in (sparse, dense)
        )
        if one != other:
            listed = " and not ".join(", ".join(names) for names in (one, other))
            raise PruneError(f"recover: teacher: expected the {kind} of the pruned model, {listed}")


def _require_shapes(outputs: Sequence[str], exact: Values, found: Values) -> None:
    """Check that outputs have the shapes of the teacher's."""
    for name in outputs:
        got, expected = ([*values[name].shape] for values in (exact, found))
        if got != expected:
            raise PruneError(f"recover: teacher: {name} has shape {got}, expected {expected} as in the pruned model")


def _require_exact(model: ir.Model, feeds: Feeds, found: Values) -> None:
    """Check that torch gives what ONNX Runtime gives."""
    try:
        exact = reference.evaluate(model, {name: x.numpy() for name, x in feeds.items()}, found, threads=0)
    except OnnxRuntimeError as err:
        raise PruneError(f"recover: {err}") from err
    for name, array in exact.items():
        other, near = found[name].numpy(), NEAR * np.abs(array).max(initial=0)
        if other.shape != array.shape or not np.allclose(other, array, rtol=0, atol=near):
            raise PruneError(f"recover: torch gives something else than ONNX Runtime up to {name}; prune without it")
