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
from edgesparse.prune.order import SHARE, Strongest, Together, best_order
from edgesparse.sparsity.patterns import Block, NofM
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


@pytest.mark.parametrize("pattern", ["2:4", "1x4"])
@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
def test_outputs_stay_the_same_whatever_the_order(name, pattern, shuffled):
    case, text, constants, count = (EXACT | CLOSE)[name]
    source = network(case, text, constants)
    feeds = inputs(source)

    ordered = permute(source, pattern).model

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


def best_of_all(scores, of):
    """Of eight channels in two groups of four, by trying all."""
    firsts = [list(of) for of in combinations(range(8), 4)]
    return max(of.kept(scores[[*first, *(at for at in range(8) if at not in first)]]) for first in firsts)


@pytest.mark.parametrize(("of", "near"), [(Strongest(2, 4), 1e-3), (Together(4), 0.04)])
def test_two_groups_come_close_to_the_best_order_there_is(of, near):
    shares = []
    for seed in range(8):
        scores = np.random.default_rng(seed).random((8, 5)) ** 3

        order = best_order(scores, of)

        assert sorted(order) == list(range(8))
        shares.append(of.kept(scores[order]) / best_of_all(scores, of))
    assert 1 - near <= np.mean(shares) and max(shares) <= 1 + 1e-6


@pytest.mark.parametrize("work", [1 << 24, 8 * 8 * 5])
def test_an_order_that_keeps_everything_is_found(work, monkeypatch):
    """Also where only some of the elements are looked at."""
    monkeypatch.setattr(search, "WORK", work)
    scores = np.zeros((32, 64), np.float32)
    scores[:16] = 1.0  # in order, every group is all or nothing

    order = best_order(scores, Strongest(2, 4))

    assert Strongest(2, 4).kept(scores) == 16 * 64 / 2
    assert Strongest(2, 4).kept(scores[order]) == 16 * 64


def test_kept_is_what_the_mask_keeps():
    scores = np.random.default_rng(0).random((12, 7))

    assert Strongest(2, 4).kept(scores) == pytest.approx(scores.T[NofM(2, 4).mask(scores.T)].sum())
    assert Strongest(1, 3).kept(scores) == pytest.approx(scores.T[NofM(1, 3).mask(scores.T)].sum())


@pytest.mark.parametrize(
    "of", [Strongest(2, 4), Strongest(1, 4), Strongest(3, 4), Strongest(1, 2), Together(4), Together(2)]
)
def test_no_order_is_worse_than_that_which_was(of):
    scores = np.abs(floats(24, 10))

    assert of.kept(scores[best_order(scores, of)]) >= of.kept(scores)


def test_channels_that_matter_to_the_same_outputs_become_neighbours():
    """Four kinds of channels, each of which one output in four reads, dealt out in turn: no block is empty."""
    scores = np.zeros((16, 20), np.float32)
    for channel in range(16):
        scores[channel, channel % 4 :: 4] = 1.0

    order = best_order(scores, Together(4))

    assert {tuple(sorted(group % 4)) for group in order.reshape(4, 4)} == {(kind,) * 4 for kind in range(4)}


def test_kept_in_blocks_is_what_the_mask_keeps():
    scores = np.random.default_rng(0).random((12, 10))

    assert Together(4).kept(scores) == pytest.approx(scores.T[Block(1, 4).mask(scores.T, SHARE)].sum())


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


def test_pruning_in_blocks_keeps_more_magnitude():
    """Channels at every place of the window move together; what the outputs read in pairs stays in pairs."""
    text = f"{IMAGE} {{ [one] p = Conv (x, a) r = Relu (p) [two] y = Conv (r, b) }}"
    kinds = np.repeat(np.arange(12) % 4, 2)[:, None] == np.arange(16) % 4
    source = model(
        text, a=floats(16, 3, 3, 3), b=floats(24, 16, 2, 2, seed=1) * np.float32(1 + 8 * kinds)[:, :, None, None]
    )

    for pattern in ("1x4", "2x4"):
        ordered = permute(source, {"two": pattern})

        plain, after = (
            prune(of, SHARE, pattern=pattern, skip=["one"]).model.graph.initializers["b"].const_value.numpy()
            for of in (source, ordered.model)
        )
        gain = float(np.abs(after).sum() / np.abs(plain).sum() - 1)
        assert ordered.gains == {"two": pytest.approx(gain, rel=1e-3)} and gain > 0.2
        assert ordered.notes == {
            "two": f"channels reordered: keeps {gain:.1%} more magnitude in the largest 20% of its blocks"
        }
        assert not np.array_equal(after, plain)


def test_outputs_that_share_a_block_keep_their_places(shuffled):
    text = f"{ROW} {{ [one] p = MatMul (x, a) [two] q = MatMul (p, b) [three] y = MatMul (q, c) }}"
    source = model(text, **{name: ROWS[name] for name in "abc"})

    for patterns in (("4x1", "2:4", "2:4"), ("2x4", "1x4", "1x4"), ("1x1", "4x4", "1x4")):
        permute(source, dict(zip(("one", "two", "three"), patterns, strict=True)))

    assert shuffled == [["three"], ["three"], ["two"]]


@pytest.mark.parametrize("pattern", ["4x1", "1x1"])
def test_other_patterns_have_no_order_to_choose(pattern):
    source = model(f"{ROW} {{ y = MatMul (x, a) }}", a=floats(6, 8))

    with pytest.raises(PruneError, match=rf"channels such as 2:4 or 1x4; got {pattern}: leave it out"):
        permute(source, pattern)
    with pytest.raises(PruneError, match="got 4x1 and 1x1"):
        check_permute(["4x1", "1x1"])


@pytest.mark.parametrize("one", [(), (1,)])
@pytest.mark.parametrize("by_channel", [True, False])
def test_channels_of_integers_move_with_their_scales(by_channel, one, shuffled):
    """Between activations of one scale: weights, biases and their scales by channel; outputs stay to the bit."""
    scale = np.exp2(-np.arange(3, 11)).astype(np.float32) if by_channel else np.full(one, 2**-6, np.float32)
    integers = np.random.default_rng(0).integers
    constants = {
        "a": integers(-99, 100, (8, 3, 3, 3)).astype(np.int8),
        "b": integers(-999, 1000, 8).astype(np.int32),
        "c": integers(-99, 100, (4, 8, 1, 1)).astype(np.int8),
        "s": scale,
        "s2": scale * np.float32(2**-5),
        "s1": np.full(one, 2**-5, np.float32),
        "z": np.full(one, 100, np.uint8),
    }
    source = model(
        f"""{IMAGE} {{
        xq = QuantizeLinear (x, s1, z) xd = DequantizeLinear (xq, s1, z)
        ad = DequantizeLinear <axis = 0> (a, s) bd = DequantizeLinear <axis = 0> (b, s2)
        p = Conv (xd, ad, bd) q = QuantizeLinear (p, s1, z) r = DequantizeLinear (q, s1, z)
        cd = DequantizeLinear (c, s1) y = Conv (r, cd)
        }}""",
        **constants,
    )

    ordered = permute(source, "1x4").model

    assert len(shuffled) == 1
    after = {name: value.const_value.numpy() for name, value in ordered.graph.initializers.items()}
    for name, array in constants.items():
        moved = name in "abc" or (name in ("s", "s2") and by_channel)
        assert array.dtype == after[name].dtype and np.array_equal(np.sort(array, None), np.sort(after[name], None))
        assert np.array_equal(array, after[name]) != moved
    feeds = {"x": floats(2, 3, 6, 6)}
    np.testing.assert_array_equal(ort_run(ordered, feeds)[0], ort_run(source, feeds)[0])
