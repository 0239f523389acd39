"""Attention heads and neurons of transformers go whole, and trained networks compute as with zeros in their place."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.frontend import read
from edgesparse.prune import shrink
from tests.frontend.graphs import floats
from tests.models import real_model
from tests.prune.judge import assert_same_as_zeroed, network


def ints(*values):
    return np.array(values, np.int64)


ATTENTION = """
    [query] q = MatMul (x, wq) q1 = Reshape (q, heads) q2 = Transpose <perm = [0, 2, 1, 3]> (q1)
    [key] k = MatMul (x, wk) kb = Add (bk, k) k1 = Reshape (kb, {kv}) k2 = Transpose <perm = [0, 2, 3, 1]> (k1)
    [value] v = MatMul (x, wv) v1 = Reshape (v, {kv}) v2 = Transpose <perm = [0, 2, 1, 3]> (v1) {shared}
    s = MatMul (q2, {keys}) t = Mul (s, scale) u = Add (t, mask) p = Softmax (u) o = MatMul (p, {values})
    o1 = Transpose <perm = [0, 2, 1, 3]> (o) o2 = Reshape (o1, flat)
    [out] a = MatMul (o2, wo) r = Add (a, x)
    [up] m = MatMul (r, w1) g = Gelu (m) [down] d = MatMul (g, w2) y = Add (d, r)
"""
SHARED = """
    k3 = Unsqueeze (k2, two) k4 = Expand (k3, keys) k5 = Reshape (k4, all_keys)
    v3 = Unsqueeze (v2, two) v4 = Expand (v3, values) v5 = Reshape (v4, all_values)
"""
WEIGHTS = {
    "wq": (6, 12), "wk": (6, 12), "bk": (12,), "wv": (6, 12), "wo": (12, 6), "w1": (6, 16), "w2": (16, 6),
    "heads": ints(1, -1, 4, 3), "flat": ints(0, 0, -1), "scale": np.float32(0.5), "mask": (1, 1, 5, 5),
}  # fmt: skip


def attention(shared=False, **changes):
    names = {"kv": "pairs", "keys": "k5", "values": "v5"} if shared else {"kv": "heads", "keys": "k2", "values": "v2"}
    text = ATTENTION.format(**names, shared=SHARED if shared else "")
    return network(text, inputs="float[1, 5, 6] x", output="float[1, 5, 6] y", **(WEIGHTS | changes))


def sizes(shrunk):
    return {name: tuple(value.shape) for name, value in shrunk.model.graph.initializers.items()}


@pytest.mark.parametrize("heads", [ints(1, -1, 4, 3), ints(0, 0, 4, -1), ints(1, 5, -1, 3)])
def test_heads_go_from_all_four_projections(heads):
    source = attention(heads=heads)

    shrunk = shrink(source, 0.2, kinds=["heads"], multiple=1)

    (row,) = [row for row in shrunk.report.groups if row.kind == "heads" and row.note is None]
    assert (row.size_before, row.layers) == (4, ("query", "key", "value", "out"))
    after, left = sizes(shrunk), 3 * row.size_after
    assert (after["wq"], after["bk"], after["wv"], after["wo"]) == ((6, left), (left,), (6, left), (left, 6))
    assert_same_as_zeroed(source, shrunk, {"x": floats(1, 5, 6, seed=99)})


def test_neurons_go_without_heads():
    source = attention()

    shrunk = shrink(source, 0.2, kinds=["neurons"], multiple=4)

    assert sizes(shrunk)["wq"] == (6, 12) and sizes(shrunk)["w1"][1] in (4, 8, 12)
    assert_same_as_zeroed(source, shrunk, {"x": floats(1, 5, 6, seed=99)})


def test_heads_that_share_keys_and_values_go_together():
    pairs = {"wk": (6, 6), "bk": (6,), "wv": (6, 6), "pairs": ints(1, 5, 2, 3), "two": ints(2)}
    shapes = {"keys": ints(1, 2, 2, 3, 5), "all_keys": ints(1, 4, 3, 5), "values": ints(1, 2, 2, 5, 3)}
    source = attention(shared=True, **pairs, **shapes, all_values=ints(1, 4, 5, 3))

    shrunk = shrink(source, 0.2, kinds=["heads"], multiple=1)

    after = sizes(shrunk)
    assert (after["wq"], after["wk"], after["wv"], after["wo"]) == ((6, 6), (6, 3), (6, 3), (6, 6))
    assert_same_as_zeroed(source, shrunk, {"x": floats(1, 5, 6, seed=99)})


@pytest.mark.parametrize("name", ["cifar10_resnet20", "mlperf_tiny_kws_dscnn", "mlperf_tiny_vww_mobilenetv1_025"])
def test_trained_networks_compute_as_with_zeros(name):
    source = read(real_model(name))
    value = source.graph.inputs[0]
    shape = [size if isinstance(size, int) else 1 for size in value.shape]

    shrunk = shrink(source, 0.5, multiple=4)

    assert shrunk.report.removed == pytest.approx(0.5, abs=0.02)
    assert_same_as_zeroed(source, shrunk, {value.name: floats(*shape, seed=99)})
