"""Describe a model: operators, shapes, parameters, zeros and multiply-accumulates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from edgesparse.errors import FrontendError
from edgesparse.frontend.shapes import fix_inputs, forget_shapes, infer_shapes
from edgesparse.frontend.support import operator_name
from edgesparse.sparsity.weights import WeightRef, find_weights
from edgesparse.tables import Part, Report, Table, counts_text, shape_text, signature_table


@dataclass(frozen=True)
class Signature:
    """A model input or output; symbolic dimensions keep their names, unknown ones are "?"."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True, repr=False)
class ModelSummary(Report):
    """What a model holds. MACs are None where a shape is not known before a run."""

    opset: int
    ops: dict[str, int]
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    parameters: int
    nonzeros: int
    macs: int | None
    effective_macs: int | None
    layers: tuple[WeightRef, ...]
    model: str = "model"

    def parts(self) -> Iterator[Part]:
        """Operators, what goes in and comes out, and the weights of each layer."""
        density = self.nonzeros / max(1, self.parameters)
        macs = "?" if self.macs is None else f"{self.macs / 1e6:.1f} M"
        told = f"{self.parameters} parameters, density {density:.3f}, {macs} MACs"
        yield f"{self.model}: ONNX opset {self.opset}, {told}"
        yield f"operators: {counts_text(self.ops)}"
        yield signature_table(self.inputs, self.outputs)
        rows = [
            (layer.node, layer.op, shape_text(layer.shape), layer.size, f"{layer.density:.3f}") for layer in self.layers
        ]
        if rows:
            yield Table(("layer", "op", "weight", "parameters", "density"), rows)


def describe(model: ir.Model) -> ModelSummary:
    """Summarise `model`, normalised or not; it is not changed. MACs are for dynamic dimensions of 1."""
    shaped = _shaped(model)
    layers = tuple(find_weights(shaped))
    macs = [layer.macs for layer in layers]
    effective = [layer.effective_macs for layer in layers]
    arrays = [array for array in map(_parameter, _constants(shaped)) if array is not None]
    supplied = {value.name for value in shaped.graph.initializers.values()}
    return ModelSummary(
        opset=shaped.opset_imports.get("", 0),
        ops=dict(Counter(operator_name(node) for node in shaped.graph.all_nodes()).most_common()),
        inputs=tuple(_signature(value) for value in model.graph.inputs if value.name not in supplied),
        outputs=tuple(_signature(value) for value in model.graph.outputs),
        parameters=sum(array.size for array in arrays),
        nonzeros=sum(int(np.count_nonzero(array)) for array in arrays),
        macs=_total(macs),
        effective_macs=_total(effective),
        layers=layers,
    )


def _shaped(model: ir.Model) -> ir.Model:
    shaped = model.clone()
    try:
        fix_inputs(shaped)
    except FrontendError:  # an input without a rank: shapes, and so MACs, stay unknown
        return shaped
    forget_shapes(shaped)
    return infer_shapes(shaped)


def _total(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _constants(model: ir.Model) -> list[ir.TensorProtocol]:
    tensors = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    for node in model.graph.all_nodes():
        if node.op_type == "Constant" and "value" in node.attributes:
            tensors.append(node.attributes["value"].as_tensor())
    return [tensor for tensor in tensors if tensor is not None]


def _parameter(tensor: ir.TensorProtocol) -> np.ndarray | None:
    """Shapes, axes and indices are int64; everything else counts as a parameter."""
    skipped = (ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING)
    return None if tensor.dtype in skipped or not prod(tensor.shape.numpy()) else tensor.numpy()


def _signature(value: ir.Value) -> Signature:
    dtype = "?" if value.dtype is None else str(value.dtype.numpy()) if value.dtype != ir.DataType.STRING else "string"
    if value.shape is None:
        return Signature(value.name or "", dtype, None)
    sizes = tuple(size if isinstance(size, int) else size.value or "?" for size in value.shape)
    return Signature(value.name or "", dtype, sizes)
