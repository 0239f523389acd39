"""The layers of a model as calibration samples see them, one after another, each to be changed before the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse.prune.moments import Moments
from edgesparse.prune.observe import Read, bias_of, observe, read_of
from edgesparse.prune.samples import Samples
from edgesparse.prune.site import Bias, store_bias
from edgesparse.sparsity.weights import WeightRef


@dataclass(frozen=True)
class Seen:
    """One layer for each tensor, and what samples say of all that share it; `note` says why they say nothing."""

    ref: WeightRef
    moments: Moments | None
    bias: Bias | None
    note: str | None

    @property
    def matrix(self) -> np.ndarray:
        """The weight [M, K] as it is."""
        return self.ref.matrix()

    def put(self, matrix: np.ndarray, fitted: Moments | None = None) -> None:
        """Put a weight [M, K], and the bias that goes with it by the moments that it fits, into the model."""
        store(self.ref.value, self.ref.stored(matrix))
        offset = fitted.bias(matrix) if fitted else None
        if offset is not None and self.bias is not None:
            store_bias(self.bias, offset, self.ref.value)


def seen(
    model: ir.Model,
    refs: Sequence[WeightRef],
    samples: Samples | None,
    dense: ir.Model | None,
    kept: Mapping[str, np.ndarray] | None = None,
) -> Iterator[Seen]:
    """Each tensor in graph order, and what is known of the layers with it; see `observe`.

    What becomes of a weight before the next is asked for counts for those behind it.

    Args: kept: which channels of the dense network's outputs are left, by the name of the value; all by default.
    """
    first = {ref.tensor: ref for ref in unique(refs)}
    unseen: dict[str, str | None] = dict.fromkeys(first)
    if samples is not None:
        reads, unseen = _reads(refs, model.graph, kept or {})
        for tensor, moments in observe(model, samples, reads, dense):
            yield Seen(first[tensor], moments, bias_of(reads[tensor]), None)
    for tensor, note in unseen.items():
        yield Seen(first[tensor], None, None, note)


def unique(refs: Sequence[WeightRef]) -> list[WeightRef]:
    """The first of the layers that share a tensor."""
    return list({ref.tensor: ref for ref in reversed(refs)}.values())[::-1]


def _reads(
    refs: Sequence[WeightRef], graph: ir.Graph, kept: Mapping[str, np.ndarray]
) -> tuple[dict[str, list[Read]], dict[str, str | None]]:
    """The layers of each tensor as samples see them, and of which tensors they do not."""
    reads: dict[str, list[Read]] = {}
    unseen: dict[str, str | None] = {}
    forms = {ref.tensor: _form(ref) for ref in reversed(refs)}
    for ref in refs:
        found = read_of(ref, graph, kept)
        if _form(ref) != forms[ref.tensor]:
            found = f"{ref.node} reads it as another matrix"
        if isinstance(found, str):
            unseen[ref.tensor] = f"by magnitude: {found}"
        else:
            reads.setdefault(ref.tensor, []).append(found)
    return {tensor: of for tensor, of in reads.items() if tensor not in unseen}, unseen


def _form(ref: WeightRef) -> tuple[object, ...]:
    """How the stored tensor becomes the matrix of a layer."""
    return ref.layout, ref.view, ref.group, ref.m, ref.k


def store(value: ir.Value, array: np.ndarray) -> None:
    """Put an array where a constant is, be it an initializer or what a node gives."""
    tensor = ir.tensor(np.ascontiguousarray(array), name=value.name)
    node = value.producer()
    if node is None:
        value.const_value = tensor
        return
    constant = ir.node("Constant", [], attributes={"value": tensor}, name=node.name)
    output, result = constant.outputs[0], node.outputs[0]
    output.type, output.shape = ir.TensorType(tensor.dtype), ir.Shape(array.shape)
    node.append(constant)
    result.replace_all_uses_with(output)
    name, graph = result.name, node.graph
    assert graph is not None
    graph.remove(node, safe=True)
    output.name = name
