"""The calibration loss: how far a pruned network's outputs are from the dense one's, on samples without labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common
from scipy.special import log_softmax

from edgesparse.errors import SearchError

Feeds = Mapping[str, np.ndarray]
LINEAR = ("Gemm", "MatMul")


class Stitched:
    """A network whose weights can be exchanged between runs, so that a profile of layers costs one inference a sample.

    Weights become inputs with defaults, which ONNX Runtime reads at each run.
    """

    def __init__(self, model: ir.Model, tensors: Iterable[str], samples: Sequence[Feeds], threads: int = 0) -> None:
        """Run the dense network once on every sample.

        Args:
            tensors: names of the weights that will be exchanged.
            threads: of ONNX Runtime; 0: as many as cores.

        Raises: SearchError: ONNX Runtime cannot open or run the model, or there are no samples.
        """
        if not samples:
            raise SearchError("calibration: got no samples, expected at least one")
        overridable = _with_weights_as_inputs(model, tensors)
        self._session = _session(overridable, threads)
        self._samples = samples
        self._scores = [is_scores(value) for value in model.graph.outputs]
        self._dense = [self._run(feeds) for feeds in samples]

    def loss(self, weights: Mapping[str, np.ndarray]) -> float:
        """The mean loss over the samples with these weights in place of the model's own."""
        return float(
            np.mean(
                [
                    output_loss(dense, self._run({**feeds, **weights}), self._scores)
                    for feeds, dense in zip(self._samples, self._dense, strict=True)
                ]
            )
        )

    def _run(self, feeds: Feeds) -> list[np.ndarray]:
        try:
            outputs: list[np.ndarray] = self._session.run(None, dict(feeds))
        except Exception as err:  # its exceptions have no common base but Exception
            raise SearchError(f"calibration: ONNX Runtime cannot run the model: {str(err).splitlines()[0]}") from err
        return outputs


def output_loss(dense: Sequence[np.ndarray], pruned: Sequence[np.ndarray], scores: Sequence[bool]) -> float:
    """Mean over the outputs: Kullback-Leibler divergence of the classes, or the squared error over the dense square.

    Args:
        scores: which outputs hold a score for each class along the last axis.
    """
    return float(np.mean([_one(*pair) for pair in zip(dense, pruned, scores, strict=True)]))


def _one(dense: np.ndarray, pruned: np.ndarray, is_score: bool) -> float:
    p, q = dense.astype(np.float64), pruned.astype(np.float64)
    if is_score:
        p, q = _log_probabilities(p), _log_probabilities(q)
        return float((np.exp(p) * (p - q)).sum(axis=-1).mean())
    return float(((p - q) ** 2).sum() / max(float((p**2).sum()), np.finfo(np.float64).tiny))


def _log_probabilities(values: np.ndarray) -> np.ndarray:
    """Of what are probabilities already, or scores."""
    if values.min() >= 0 and np.allclose(values.sum(axis=-1), 1.0, atol=1e-3):
        clipped: np.ndarray = np.log(np.maximum(values, 1e-12))
        return clipped
    logs: np.ndarray = log_softmax(values, axis=-1)
    return logs


def is_scores(value: ir.Value) -> bool:
    """Whether an output holds a score for each of several classes: a row each, from a softmax or a linear layer."""
    shape, node = value.shape, value.producer()
    if shape is None or len(shape) != 2 or shape[-1] == 1 or node is None:
        return False
    if node.op_type == "Add":
        node = next((source for v in node.inputs if v and (source := v.producer()) is not None), node)
    return node.op_type in (*LINEAR, "Softmax", "LogSoftmax")


def exchangeable(model: ir.Model) -> set[str]:
    """Names of the constants that can become inputs: those of the graph itself, not of its branches."""
    return set(_lifted(model).graph.initializers)


def _lifted(model: ir.Model) -> ir.Model:
    copy = model.clone()
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    return copy


def _with_weights_as_inputs(model: ir.Model, tensors: Iterable[str]) -> ir.Model:
    copy = _lifted(model)
    present = {value.name for value in copy.graph.inputs}
    for name in tensors:
        if name not in present:
            copy.graph.inputs.append(copy.graph.initializers[name])
    return copy


def _session(model: ir.Model, threads: int):  # type: ignore[no-untyped-def]
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(
            ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as err:  # its exceptions have no common base but Exception
        raise SearchError(f"model: ONNX Runtime cannot open it: {str(err).splitlines()[0]}") from err
