"""Channels change places only where outputs stay the same, and the order found keeps more."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.errors import PruneError
from edgesparse.frontend import read
from edgesparse.prune import check_permute, permutation, permute, prune
from edgesparse.prune import order as search
from edgesparse.prune.order import best_order, kept
from edgesparse.sparsity.patterns import NofM
from tests.frontend.graphs import floats, model
from tests.models import assert_close, ort_run, real_model

IMAGE = "g (float[n, 3, 6, 6] x) => (float[n, o, h, v] y)"
ROW = "g (float[n, 6] x) => (float[n, o] y)"
SEQUENCE = "g (float[n, 5, 6] x) => (float[n, 5, o] y)"


def whole(*shape, seed=0):
    """Small whole numbers: sums of their products are exact in any order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


CONVS = {"a": whole(8, 3, 3, 3), "b": whole(8, 8, 1, 1, seed=1), "c": whole(4, 8, 3, 3, seed=2), "d": whole(8, seed=3)}
ROWS = {"a": whole(6, 8), "b": whole(8, 8, seed=1), "c": whole(8, 4, seed=2), "d": whole(8, seed=3)}
POSITIVE = np.array([1, 2, 4, 1, 2, 4, 1, 4], np.float32)

EXACT = {
    "bias and relu": (IMAGE, "p = Conv (x, a, d) q = Relu (p) y = Conv (q, c)", CONVS, 1),
    "pooling": (IMAGE, "p = Conv (x, a) q = MaxPool <kernel_shape = [2, 2]> (p) y = Conv (q, b)", CONVS, 1),
    "depthwise": (
        IMAGE,
        "p = Conv <pads=[1,1,1,1]> (x, a) q = Conv <group = 8> (p, w, d) y = Conv (q, b2)",
        CONVS | {"w": whole(8, 1, 2, 2, seed=5), "b2": whole(4, 8, 1, 1)},
        1,
    ),
    "a residual": (
        IMAGE,
        "p = Conv <pads=[1,1,1,1]> (x, a) q = Conv (p, b) s = Add (p, q) t = Relu (s) y = Conv (t, c)",
        CONVS,
        1,
    ),
    "a sum of three": (ROW, "p = MatMul (x, a) q = MatMul (x, e) r = Sum (p, q, q) y = MatMul (r, c)",
        ROWS | {"e": whole(6, 8, seed=9)}, 1),
    "rows of a table": (
        "g (int64[n, 5] x) => (float[n, 5, o] y)",
        "p = Gather (t, x) q = MatMul (p, b) r = Add (p, q) y = MatMul (r, c)",
        ROWS | {"t": whole(5, 8)},
        1,
    ),
    "factors of the channels": (IMAGE, "p = Conv (x, a) q = Mul (p, f) r = Add (one, q) y = Conv (r, c)",
        CONVS | {"f": whole(8, 1, 1, seed=7), "one": whole(1, seed=8)}, 1),
    "slopes": (IMAGE, "p = Conv (x, a) q = PRelu (p, f) y = Conv (q, c)", CONVS | {"f": whole(8, 1, 1, seed=7)}, 1),
    "squeezed factors": (
        IMAGE,
        "p = Conv (x, a) q = ReduceMax <keepdims = 1> (p, hw) r = Conv (q, b) s = Mul (p, r) y = Conv (s, c)",
        CONVS | {"hw": np.array([2, 3])},
        1,
    ),
    "products": (ROW, "p = MatMul (x, a) q = Add (p, d) r = Relu (q) y = MatMul (r, c)", ROWS, 1),
    "two in a row": (ROW, "p = Gemm (x, a, d) q = Gemm <transB = 1> (p, b) y = MatMul (q, c)", ROWS, 2),
    "flattening": (
        "g (float[n, 3, 6, 6] x) => (float[n, o] y)",
        "p = Conv (x, a) q = GlobalMaxPool (p) r = Flatten (q) y = MatMul (r, w)",
        CONVS | {"w": whole(8, 4)},
        1,
    ),
    "transposing": (
        "g (float[n, 3, 6, 6] x) => (float[n, k, l, o] y)",
        "p = Conv (x, a) q = Transpose <perm = [0, 2, 3, 1]> (p) y = MatMul (q, w)",
        CONVS | {"w": whole(8, 4)},
        1,
    ),
    "a sum over the channels": (
        SEQUENCE,
        "p = MatMul (x, a) m = ReduceSum <keepdims = 1> (p, last) q = Sub (p, m) y = MatMul (q, c)",
        ROWS | {"last": np.array([-1])},
        1,
    ),
    "concatenation": (
        ROW,
        "p = MatMul (x, a) q = MatMul (x, e) r = Concat <axis = 1> (p, q) y = MatMul (r, w)",
        ROWS | {"e": whole(6, 8, seed=9), "w": whole(16, 4)},
        2,
    ),
    "two readers": (SEQUENCE, "p = MatMul (x, a) q = MatMul (p, c) r = MatMul (p, e) y = Add (q, r)",
        ROWS | {"e": whole(8, 4, seed=9)}, 1),
}  # fmt: skip
CLOSE = {
    "batch normalisation": (
        IMAGE,
        "p = Conv (x, a) q = BatchNormalization (p, f, d, d2, f2) y = Conv (q, c)",
        CONVS | {"f": POSITIVE, "f2": POSITIVE + 1, "d2": whole(8, seed=4)},
        1,
    ),
    "layer normalisation": (
        SEQUENCE,
        "p = MatMul (x, a) q = LayerNormalization (p, f, d) r = Gelu (q) y = MatMul (r, c)",
        ROWS | {"f": POSITIVE},
        1,
    ),
    "normalisation spelled out": (
        SEQUENCE,
        """p = MatMul (x, a) m = ReduceMean (p, last) q = Sub (p, m) s = Mul (q, q) t = ReduceMean (s, last)
        u = Add (t, one) v = Sqrt (u) w = Div (q, v) y = MatMul (w, c)""",
        ROWS | {"last": np.array([-1]), "one": np.ones(1, np.float32)},
        1,
    ),
}
FIXED = {
    "an output": (ROW, "y = MatMul (x, a)", ROWS),
    "the same twice": (ROW, "p = MatMul (x, a) q = Concat <axis = 1> (p, p) y = MatMul (q, w)",
        ROWS | {"w": whole(16, 4)}),
    "a grouped convolution": (IMAGE, "p = Conv (x, a) y = Conv <group = 2> (p, w)", CONVS | {"w": whole(4, 4, 1, 1)}),
    "a weight with two readers": (ROW, "p = MatMul (x, a) q = MatMul (p, b) r = MatMul (q, b) y = MatMul (r, c)", ROWS),
    "more elements behind the channels": (
        "g (float[n, 3, 6, 6] x) => (float[n, o] y)",
        "p = Conv (x, a) q = Flatten (p) y = MatMul (q, w)",
        CONVS | {"w": whole(128, 4)},
    ),
    "a product of two activations": (
        SEQUENCE,
        "p = MatMul (x, a) q = Transpose <perm = [0, 2, 1]> (p) y = MatMul (p, q)",
        ROWS,
    ),
    "a residual with the input": (
        "g (float[n, 8] x) => (float[n, o] y)",
        "p = MatMul (x, b) q = Add (p, x) y = MatMul (q, c)",
        ROWS,
    ),
    "features of heads": (
        "g (float[1, 5, 6] x) => (float[1, 5, o] y)",
        """k = MatMul (x, a) s = Reshape (k, heads) t = Transpose <perm = [0, 2, 1, 3]> (s)
        u = Transpose <perm = [0, 2, 1, 3]> (t) v = Reshape (u, flat) y = MatMul (v, c)""",
        ROWS | {"heads": np.array([1, 5, 2, 4]), "flat": np.array([1, 5, 8])},
    ),
    "a branch": (
        ROW,
        """p = MatMul (x, a) q = MatMul (p, c) y = If (one) <
            then_branch = g1 () => (float[n, 8] t) { t = Relu (p) },
            else_branch = g2 () => (float[n, 4] e) { e = Neg (q) }
        >""",
        ROWS | {"one": np.array(True)},
    ),
    "a bias with two readers": (
        ROW, "p = MatMul (x, a) q = Add (p, d) r = Add (q, d) y = MatMul (r, c)", ROWS),
    "an unknown operator": (SEQUENCE, "p = MatMul (x, a) q = CumSum (p, last) y = MatMul (q, c)",
        ROWS | {"last": np.array(2)}),
}  # fmt: skip


def network(case, text, constants):
    used = {name: array for name, array in constants.items() if any(name == word.strip("(),") for word in text.split())}
    return model(f"{case} {{ {text} }}", **used)


@pytest.fixture
def shuffled(monkeypatch):
    """Orders drawn at random in place of the best, taken in any case; the layers that each is for."""
    found = []

    def drawn(channels):
        found.append(sorted(channels.readers))
        return np.random.default_rng(len(found)).permutation(len(channels.roots)), dict.fromkeys(channels.readers, 1.0)

    monkeypatch.setattr(permutation._Channels, "best", drawn)
    return found


def inputs(source):
    shape = [4 if not isinstance(size, int) else size for size in source.graph.inputs[0].shape]
    x = whole(*shape, seed=11)
    return {"x": x if source.graph.inputs[0].dtype == ir.DataType.FLOAT else np.abs(x).astype(np.int64)}


@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
def test_outputs_stay_the_same_whatever_the_order(name, shuffled):
    case, text, constants, count = (EXACT | CLOSE)[name]
    source = network(case, text, constants)
    feeds = inputs(source)

    ordered = permute(source, "2:4").model

    assert len(shuffled) == count and all(shuffled)
    (expected,), (actual,) = ort_run(source, feeds), ort_run(ordered, feeds)
    if name in EXACT:
        np.testing.assert_array_equal(actual, expected)
    else:
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FIXED)
def test_channels_stay_where_something_cannot_follow(name, shuffled):
    permute(network(*FIXED[name]), "2:4")

    assert not shuffled


@pytest.mark.parametrize(("name", "count"), [("cifar10_resnet20", 12), ("mlperf_tiny_vww_mobilenetv1_025", 14)])
def test_real_networks_stay_the_same(name, count, shuffled):
    source = read(real_model(name))
    feeds = {source.graph.inputs[0].name: inputs(source)["x"]}

    ordered = permute(source, "2:4").model

    assert len(shuffled) == count
    for actual, before in zip(ort_run(ordered, feeds), ort_run(source, feeds), strict=True):
        assert_close(actual, before)


def best_of_all(scores):
    """Of eight channels in two groups of four, by trying all."""
    firsts = [list(of) for of in combinations(range(8), 4)]
    return max(kept(scores[[*first, *(at for at in range(8) if at not in first)]], 2, 4) for first in firsts)


@pytest.mark.parametrize("seed", range(6))
def test_two_groups_come_close_to_the_best_order_there_is(seed):
    scores = np.random.default_rng(seed).random((8, 5)) ** 3
    best = best_of_all(scores)

    order = best_order(scores, 2, 4)

    assert sorted(order) == list(range(8))
    assert best * (1 - 1e-3) <= kept(scores[order], 2, 4) <= best * (1 + 1e-6)
    assert kept(scores[order], 2, 4) - kept(scores, 2, 4) >= 0.9 * (best - kept(scores, 2, 4))


@pytest.mark.parametrize("work", [1 << 24, 8 * 8 * 5])
def test_an_order_that_keeps_everything_is_found(work, monkeypatch):
    """Also where only some of the elements are looked at."""
    monkeypatch.setattr(search, "WORK", work)
    scores = np.zeros((32, 64), np.float32)
    scores[:16] = 1.0  # in order, every group is all or nothing

    order = best_order(scores, 2, 4)

    assert kept(scores, 2, 4) == 16 * 64 / 2
    assert kept(scores[order], 2, 4) == 16 * 64


def test_kept_is_what_the_mask_keeps():
    scores = np.random.default_rng(0).random((12, 7))

    assert kept(scores, 2, 4) == pytest.approx(scores.T[NofM(2, 4).mask(scores.T)].sum())
    assert kept(scores, 1, 3) == pytest.approx(scores.T[NofM(1, 3).mask(scores.T)].sum())


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 4), (1, 2)])
def test_no_order_is_worse_than_that_which_was(n, m):
    scores = np.abs(floats(24, 10))

    assert kept(scores[best_order(scores, n, m)], n, m) >= kept(scores, n, m)


def test_pruning_keeps_more_magnitude():
    text = f"{ROW} {{ [one] p = MatMul (x, a) r = Relu (p) [two] y = MatMul (r, b) }}"
    source = model(text, a=floats(6, 16), b=floats(16, 24, seed=1) * np.repeat([1, 9], 8)[:, None].astype(np.float32))

    ordered = permute(source, "2:4", skip=["one"])

    plain, after = (prune(of, None, pattern="2:4", skip=["one"]).model for of in (source, ordered.model))
    sums = [np.abs(of.graph.initializers["b"].const_value.numpy()).sum() for of in (plain, after)]
    assert ordered.gains == {"two": pytest.approx(sums[1] / sums[0] - 1, rel=1e-4)}
    assert ordered.gains["two"] > 0.1
    assert NofM(2, 4).check(after.graph.initializers["b"].const_value.numpy().T)
    np.testing.assert_array_equal(source.graph.initializers["a"].const_value.numpy(), floats(6, 16))


def test_an_order_that_one_layer_loses_by_is_not_taken():
    """Two readers of the same channels; what suits the one, in which all is at stake, breaks the pairs of the other."""
    text = f"{SEQUENCE} {{ p = MatMul (x, a) [one] q = MatMul (p, b) [two] r = MatMul (p, c) y = Add (q, r) }}"
    halves = np.zeros((8, 8), np.float32)
    halves[:4] = 1
    spread = np.zeros((8, 8), np.float32)
    spread[[0, 1, 4, 5]] = 1
    source = model(text, a=floats(6, 8), b=halves, c=spread)

    ordered = permute(source, "2:4")

    assert min(ordered.gains.values(), default=0.0) >= 0


def test_layers_with_blocks_keep_their_channels(shuffled):
    text = f"{ROW} {{ [one] p = MatMul (x, a) [two] q = MatMul (p, b) [three] y = MatMul (q, c) }}"

    permute(model(text, **{name: ROWS[name] for name in "abc"}), {"one": "4x1", "two": "2:4", "three": "2:4"})

    assert shuffled == [["three"]]


@pytest.mark.parametrize("pattern", ["4x1", "1x1"])
def test_blocks_have_no_order_to_choose(pattern):
    source = model(f"{ROW} {{ y = MatMul (x, a) }}", a=floats(6, 8))

    with pytest.raises(PruneError, match=f"permute is for patterns N:M such as 2:4; got {pattern}: leave it out"):
        permute(source, pattern)
    with pytest.raises(PruneError, match="got 4x1 and 1x1"):
        check_permute(["4x1", "1x1"])
