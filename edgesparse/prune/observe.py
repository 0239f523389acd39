"""Run calibration samples through a model in ONNX Runtime and see what its layers read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes import common

from edgesparse.errors import PruneError
from edgesparse.prune.moments import Moments, MomentSum
from edgesparse.prune.samples import Samples
from edgesparse.prune.unfold import Convolution, Geometry, Product, Sampling, same_pads
from edgesparse.sparsity.weights import WeightRef

BATCH = 16
INLINE_BYTES = 1 << 30  # a larger model is handed over in files: a protocol buffer ends at 2 GiB


@dataclass(frozen=True)
class Operand:
    """The activations that a layer reads: the value that holds them, and how they become rows x[K]."""

    value: str
    node: ir.Node
    geometry: Geometry
    auto_pad: str = "NOTSET"

    def rows(self, x: np.ndarray, sampling: Sampling) -> np.ndarray:
        """Inputs of each output position, [G, P, K]."""
        geometry = self.geometry
        if isinstance(geometry, Convolution) and self.auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            geometry = replace(geometry, pads=same_pads(x.shape[2:], geometry, upper=self.auto_pad == "SAME_UPPER"))
        return geometry.rows(x.T if self.node.attributes.get_int("transA", 0) else x, sampling)


def operand_of(ref: WeightRef, graph: ir.Graph) -> Operand | str:
    """What a layer reads, or why that cannot be seen."""
    node = ref.source
    if node.graph is not graph:
        return "it is inside a branch"
    geometry: Geometry
    if node.op_type == "Conv":
        data, geometry = node.inputs[0], _convolution(ref)
    elif node.op_type == "Gemm":
        data, geometry = node.inputs[0], Product()
    elif node.op_type == "MatMul":
        data, geometry = node.inputs[1 - ref.at], Product(ref.view[:-2], columns=ref.at == 0)
    else:
        return f"{node.op_type} is not looked into"
    pad = node.attributes.get("auto_pad")
    return Operand(str(data and data.name), node, geometry, pad.as_string() if pad else "NOTSET")


def _convolution(ref: WeightRef) -> Convolution:
    node, rank = ref.source, len(ref.view) - 2
    pads = node.attributes.get_ints("pads", [0] * (2 * rank))
    return Convolution(
        kernel=ref.view[2:],
        strides=tuple(node.attributes.get_ints("strides", [1] * rank)),
        dilations=tuple(node.attributes.get_ints("dilations", [1] * rank)),
        pads=tuple(zip(pads[:rank], pads[rank:], strict=True)),
        groups=ref.group,
    )


class Recorder:
    """Moments of what layers read when `samples` run through `model`, as it is now.

    Raises: PruneError: ONNX Runtime cannot run the model on the samples.
    """

    def __init__(self, model: ir.Model, samples: Samples) -> None:
        self._model, self._samples = model, samples

    def moments(self, layers: Mapping[str, Sequence[tuple[WeightRef, Operand]]]) -> dict[str, Moments]:
        """Moments by tensor: over all layers that share it."""
        sums = {tensor: MomentSum(_groups(of[0][0]), of[0][0].k) for tensor, of in layers.items()}
        values = sorted({operand.value for of in layers.values() for _, operand in of})
        for sampling, arrays in self._activations(values):
            for tensor, of in layers.items():
                for _, operand in of:
                    sums[tensor].add(operand.rows(arrays[operand.value], sampling))
        return {tensor: total.mean() for tensor, total in sums.items()}

    def _activations(self, values: Sequence[str]) -> Iterator[tuple[Sampling, dict[str, np.ndarray]]]:
        inputs = {value.name for value in self._model.graph.inputs}
        wanted = [name for name in values if name not in inputs]
        session = _session(self._model, wanted) if wanted else None
        first = 0
        for feed in self._samples.feeds(BATCH):
            batch = min(BATCH, len(self._samples) - first) if self._samples.batchable else 1
            taken = {} if session is None else dict(zip(wanted, _run(session, wanted, feed), strict=True))
            yield Sampling(len(self._samples), first, batch), {**feed, **taken}
            first += batch


def _groups(ref: WeightRef) -> int:
    return ref.group if "Conv" in ref.op else prod(ref.view[:-2])


def _run(
    session: onnxruntime.InferenceSession, wanted: Sequence[str], feed: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    names = {value.name for value in session.get_inputs()}
    try:
        arrays: list[np.ndarray] = session.run(wanted, {name: feed[name] for name in feed if name in names})
    except Exception as err:  # ONNX Runtime raises classes of its own, without a common base
        raise PruneError(f"calibration: ONNX Runtime cannot run the model on the samples: {_first_line(err)}") from err
    return arrays


def _first_line(err: Exception) -> str:
    return str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__


def _session(model: ir.Model, values: Sequence[str]) -> onnxruntime.InferenceSession:
    """A session that computes `values`, and nothing that they do not need."""
    part = model.clone()
    by_name = {value.name: value for node in part.graph for value in node.outputs}
    part.graph.outputs[:] = [by_name[name] for name in values]
    common.RemoveUnusedNodesPass()(part)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        if sum(value.const_value.nbytes for value in part.graph.initializers.values() if value.const_value) < INLINE_BYTES:
            data = ir.to_proto(part).SerializeToString()
            return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        with tempfile.TemporaryDirectory(prefix="edgesparse-") as folder:
            path = Path(folder) / "model.onnx"
            ir.save(part, path, external_data="weights.bin")
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as err:
        raise PruneError(f"calibration: ONNX Runtime cannot open the model: {_first_line(err)}") from err
