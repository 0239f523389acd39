"""Each measure of importance against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.errors import PruneError
from edgesparse.prune import shrink
from tests.frontend.graphs import floats
from tests.prune.judge import constants, network

TWO = """[one] a = Conv (x, w1, b1) n = BatchNormalization (a, gamma, b1, b1, variance) r = Relu (n)
[two] c = Conv (r, w2) p = GlobalAveragePool (c) y = Flatten (p)"""
SHAPES = {"w1": (12, 3, 1, 1), "b1": (12,), "w2": (5, 12, 3, 3), "gamma": (12,), "variance": np.ones(12, np.float32)}


@pytest.fixture
def source():
    return network(TWO, **SHAPES)


def kept_channels(source, shrunk):
    return np.flatnonzero(np.isin(constants(source)["b1"], constants(shrunk.model)["b1"])).tolist()


def largest(importance):
    return sorted(np.argsort(importance)[-4:].tolist())


def by_channel(function, arrays):
    """`function` of the weights of both layers that each channel has."""
    return [function(np.concatenate([arrays["w1"][at].ravel(), arrays["w2"][:, at].ravel()])) for at in range(12)]


@pytest.mark.parametrize("name, order", [("l1", 1), ("l2", 2)])
def test_norms_are_of_all_coupled_weights(source, name, order):
    norms = by_channel(lambda weights: np.linalg.norm(weights.astype(np.float64), order), constants(source))

    assert kept_channels(source, shrink(source, 2 / 3, importance=name, multiple=1)) == largest(norms)


def test_scales_of_batch_normalisation_are_taken_without_sign(source):
    shrunk = shrink(source, 2 / 3, importance="bn", multiple=1)

    assert kept_channels(source, shrunk) == largest(np.abs(constants(source)["gamma"]))


def test_taylor_sums_weights_times_gradients(source):
    weights = constants(source)
    gradients = {name: floats(*weights[name].shape, seed=40) for name in ("w1", "w2")}
    products = {name: weights[name] * gradient for name, gradient in gradients.items()}

    shrunk = shrink(source, 2 / 3, importance="taylor", gradients=gradients, multiple=1)

    assert kept_channels(source, shrunk) == largest(by_channel(lambda each: np.abs(each).sum(), products))


def test_activation_is_the_mean_square_of_what_the_next_layer_reads(source):
    samples, arrays = floats(7, 3, 6, 6, seed=50), constants(source)
    made = np.einsum("oc,schw->sohw", arrays["w1"][:, :, 0, 0], samples) + arrays["b1"][:, None, None]
    scale = arrays["gamma"] / np.sqrt(1 + 1e-5)
    normal = (made - arrays["b1"][:, None, None]) * scale[:, None, None] + arrays["b1"][:, None, None]

    shrunk = shrink(source, 2 / 3, importance="activation", calibration={"x": samples}, multiple=1)

    assert kept_channels(source, shrunk) == largest((np.maximum(normal, 0) ** 2).mean((0, 2, 3)))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"importance": "taylor"}, "importance taylor needs gradients: give a mapping from initializer names"),
        (
            {"importance": "taylor", "gradients": {}},
            r"importance taylor: got nothing as the gradient of w1, expected \[12, 3, 1, 1\]",
        ),
        (
            {"importance": "taylor", "gradients": {"w1": np.zeros((3, 3))}},
            r"got shape \[3, 3\] as the gradient of w1, expected \[12, 3, 1, 1\]",
        ),
        ({"importance": "activation"}, "importance activation needs calibration samples: give arrays by input name"),
    ],
)
def test_evidence_that_is_missing_is_named(source, options, message):
    with pytest.raises(PruneError, match=message):
        shrink(source, 0.5, **options)


def test_channels_without_batch_normalisation_have_no_scales():
    source = network(TWO.replace("n = BatchNormalization (a, gamma, b1, b1, variance)", "n = Identity (a)"), **SHAPES)

    with pytest.raises(PruneError, match="importance bn: the channels of one pass no BatchNormalization; skip that"):
        shrink(source, 0.5, importance="bn")
