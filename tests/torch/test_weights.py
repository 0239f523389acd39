"""Weights of modules: which are found, why others stay dense, and how each becomes a matrix."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")
from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402
from torch.nn.utils import prune as torch_prune  # noqa: E402

from edgesparse.errors import PruneError  # noqa: E402
from edgesparse.sparsity.weights import find_weights as find_onnx_weights  # noqa: E402
from edgesparse.torch import find_weights  # noqa: E402
from tests.torch.modules import PRUNABLE, convnet  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")


def reasons(module, skip=()):
    return {weight.name: weight.reason for weight in find_weights(module, skip)}


def test_first_and_depthwise_convolutions_stay_dense():
    assert reasons(convnet()) == {
        "0.weight": "first convolution",
        "1.weight": "depthwise convolution",
        **dict.fromkeys(PRUNABLE),
    }


@pytest.mark.parametrize("skip", ["8", "8.weight", "[8]*"])
def test_skipped_layers_stay_dense(skip):
    assert reasons(convnet(), [skip])["8.weight"] == "skipped by name"


def test_a_skip_that_matches_nothing_lists_the_weights():
    with pytest.raises(PruneError, match=r"skip 'head' matches no layer; there are the weights 0.weight, 1.weight"):
        find_weights(convnet(), ["8", "head"])


def test_a_weight_shared_with_an_embedding_stays_dense():
    module = nn.ModuleDict({"table": nn.Embedding(8, 6), "head": nn.Linear(6, 8), "body": nn.Linear(6, 6)})
    module["head"].weight = module["table"].weight

    assert reasons(module) == {"head.weight": "shared with Embedding", "body.weight": None}


def test_a_weight_that_two_layers_share_is_found_once_and_skipped_with_either():
    module = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6))
    module[1].weight = module[0].weight

    assert reasons(module) == {"0.weight": None, "2.weight": None}
    assert reasons(module, ["1"]) == {"0.weight": "skipped by name", "2.weight": None}


def test_weights_that_are_computed_stay_dense():
    module = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6))
    parametrizations.weight_norm(module[0])
    torch_prune.l1_unstructured(module[1], "weight", 0.5)

    found = reasons(module)

    assert "remove the parametrization" in found["0.weight"] and "torch.nn.utils.prune" in found["1.weight"]
    assert found["2.weight"] is None


def test_lazy_layers_wait_for_their_first_run():
    assert reasons(nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 3)))["0.weight"].startswith("not initialised")


def test_weights_of_integers_stay_dense():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[0].weight = nn.Parameter(torch.ones(4, 4, dtype=torch.int8), requires_grad=False)

    assert reasons(module) == {"0.weight": "quantized (torch.int8)", "1.weight": None}


def test_projections_of_attention_are_found():
    assert reasons(nn.MultiheadAttention(8, 2)) == {"in_proj_weight": None, "out_proj.weight": None}


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(4, 6, (3, 2), groups=2), nn.ConvTranspose2d(4, 6, 3, groups=2), nn.Linear(5, 7)],
    ids=["conv", "transposed", "linear"],
)
def test_matrix_is_that_of_the_onnx_model(layer, tmp_path):
    """Rows are outputs and columns inputs, as the ONNX side sees the exported layer."""
    example = torch.zeros(1, 5) if isinstance(layer, nn.Linear) else torch.zeros(1, 4, 9, 9)
    path = tmp_path / "layer.onnx"
    torch.onnx.export(layer.eval(), (example,), dynamo=True, verbose=False).save(str(path))
    (ref,) = find_onnx_weights(ir.load(path))

    (weight,) = find_weights(layer)

    matrix = weight.to_matrix(layer.weight)
    assert (weight.m, weight.k, weight.window) == (ref.m, ref.k, ref.window)
    np.testing.assert_array_equal(matrix, ref.to_matrix(ref.array()))
    np.testing.assert_array_equal(weight.from_matrix(matrix), layer.weight.detach())
