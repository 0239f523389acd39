"""Losses against ONNX Runtime on models that are really pruned, and against hand-computed cases."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from edgesparse.errors import SearchError
from edgesparse.search.sensitivity import OutputLoss, WeightLoss, here, relative_error, sensitivities
from edgesparse.search.state import State
from tests.search.models import LAYERS, SAMPLES, network


def outputs(model: ir.Model) -> np.ndarray:
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, SAMPLES[0])[0].astype(np.float64)


def weight(name: str) -> np.ndarray:
    return network().graph.initializers[name].const_value.numpy()


def halved(name: str) -> np.ndarray:
    return weight(name) * (np.arange(weight(name).size).reshape(weight(name).shape) % 2).astype(np.float32)


def test_the_calibration_loss_is_the_error_of_the_outputs_of_the_pruned_model():
    loss = OutputLoss(network(), LAYERS.values(), SAMPLES)
    pruned = network()
    exchanged = {name: halved(name) for name in ("wide_weight", "head_weight")}
    for name, array in exchanged.items():
        pruned.graph.initializers[name].const_value = ir.tensor(array)

    dense, sparse = outputs(network()), outputs(pruned)

    assert loss(exchanged) == pytest.approx(((dense - sparse) ** 2).sum() / (dense**2).sum(), rel=1e-4)
    assert loss({}) == 0.0


def test_the_loss_of_weights_adds_up_their_relative_errors():
    loss = WeightLoss({"a": np.array([3.0, 4.0]), "b": np.array([1.0, -1.0, 2.0]), "c": np.array([5.0])})

    assert loss({"a": np.array([0.0, 4.0]), "b": np.array([0.0, 0.0, 2.0])}) == pytest.approx(9 / 25 + 2 / 6)
    assert loss({}) == 0.0


def test_an_output_of_zeros_does_not_divide_by_zero():
    assert relative_error(np.zeros(3), np.zeros(3)) == 0.0


def test_what_is_known_is_not_measured_again(tmp_path):
    database = [{name: weight(name) for name in LAYERS.values()}, {name: halved(name) for name in LAYERS.values()}]
    tensors = tuple(LAYERS.values())
    first = sensitivities(tensors, database, State(tmp_path, {}, resume=False), here(WeightLoss(database[0])))
    state = State(tmp_path, {}, resume=True)
    lines = (tmp_path / "losses.jsonl").read_text().splitlines()
    (tmp_path / "losses.jsonl").write_text("\n".join(lines[:1]) + "\n")
    asked = []

    def loss(weights):
        asked.extend(weights)
        return 7.0

    second = sensitivities(tensors, database, state, here(loss))

    assert first[:, 0].tolist() == [0.0] * 3 and (first[:, 1] > 0.1).all()
    assert asked == ["narrow_weight", "head_weight"]
    assert second[:, 1].tolist() == [first[0, 1], 7.0, 7.0]


def test_a_model_that_onnx_runtime_cannot_run_is_refused():
    with pytest.raises(SearchError, match="calibration: ONNX Runtime cannot run the model"):
        OutputLoss(network(), LAYERS.values(), [{"image": np.zeros((1, 3, 2, 2), np.float32)}])


def test_a_model_that_onnx_runtime_cannot_open_is_refused():
    model = network()
    model.graph[0].op_type = "Wobble"

    with pytest.raises(SearchError, match="calibration: ONNX Runtime cannot open the model"):
        OutputLoss(model, LAYERS.values(), SAMPLES)
