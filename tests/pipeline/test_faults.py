"""Faults put into the importer and the lowering, one at a time, are stopped by the witness."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

import edgesparse
from edgesparse.backends.cpu import arena
from edgesparse.backends.cpu.kernels import epilogue, pool, reduce, softmax
from edgesparse.backends.cpu.kernels import math as kernel_math
from edgesparse.backends.cpu.kernels import norm as norm_kernels
from edgesparse.errors import WitnessError
from edgesparse.forms import sparse
from edgesparse.frontend import affine, canonical, cleanup, fold, fuse, norms, padding, recurrent, transposes
from edgesparse.sparsity import formats
from tests.frontend.graphs import floats, model

PICTURE = """g (float[1, 8, 9, 9] x) => (float[1, 8] y, float[1, 8, 9, 9] a, float[1, 8, 4, 4] p) {
    c = Conv <auto_pad = "SAME_UPPER", kernel_shape = [2, 2]> (x, w)
    n = BatchNormalization (c, gamma, beta, mean, var)
    r = Relu (n)
    d = Conv <group = 8, pads = [1, 1, 1, 1]> (r, deep)
    e = LeakyRelu (d)
    s = Conv (e, thin)
    a = Add (s, r)
    p = AveragePool <kernel_shape = [3, 3], strides = [2, 2]> (a)
    g = GlobalAveragePool (p)
    f = Flatten (g)
    h = Gemm <transB = 1> (f, square, bias)
    y = Softmax (h)
}"""

TEXT = """g (float[8, 8, 8] x) => (float[8, 8, 8] y, float[8, 8] z) {
    m = ReduceMean (x, axes) d = Sub (x, m) q = Mul (d, d) v = ReduceMean (q, axes) e = Add (v, epsilon)
    s = Sqrt (e) n = Div (d, s) g = Mul (n, gain)
    k = MatMul (g, square)
    b = Add (k, bias)
    f = Mul (b, two) o = Erf (f) one = Exp (zero) i = Add (o, one) j = Mul (b, i) l = Mul (j, two)
    t = Transpose <perm = [2, 0, 1]> (l)
    u = Softmax <axis = 1> (t)
    p = Transpose <perm = [1, 2, 0]> (u)
    r = Slice (p, last, first, axes, steps)
    w = Pad (r, pads)
    c = If (yes) <then_branch = t () => (h1) { h1 = Neg (w) }, else_branch = f () => (h2) { h2 = Abs (w) }>
    y = Add (c, x)
    z = ReduceMean <keepdims = 0> (y, axes)
}"""

SEQUENCE = "g (float[5, 2, 4] x) => (float[5, 1, 2, 8] y) { y, h, c = LSTM <hidden_size = 8> (x, w, r, b) }"

LAYER = """g (float[1, 64, 7, 7] x) => (float[1, 64, 7, 7] y) { c = Conv (x, w) y = Gelu (c) }"""


def picture():
    channels = {name: 1 + abs(floats(8, seed=at)) for at, name in enumerate(("gamma", "var"))}
    channels |= {name: floats(8, seed=at) for at, name in enumerate(("beta", "mean", "bias"), 2)}
    thin = np.where(abs(floats(8, 8, 1, 1, seed=7)) > 1.2, floats(8, 8, 1, 1, seed=7), 0).astype(np.float32)
    weights = {"w": floats(8, 8, 2, 2), "deep": floats(8, 1, 3, 3), "thin": thin, "square": floats(8, 8) / 4}
    return model(PICTURE, **channels, **weights)


def text():
    numbers = {
        "epsilon": np.float32([1e-5]),
        "two": np.float32([2]),
        "zero": np.float32([0]),
        "gain": floats(8),
        "bias": floats(8, seed=1),
    }
    places = {"last": np.array([-1]), "first": np.array([-99]), "steps": np.array([-1]), "axes": np.array([-1])}
    pads = np.array([0, 1, 0, 0, -1, 0])
    return model(TEXT, **numbers, **places, pads=pads, yes=np.array(True), square=floats(8, 8, seed=2) / 4)


def sequence():
    return model(SEQUENCE, w=floats(1, 32, 4), r=floats(1, 32, 8), b=floats(1, 64))


def layer():
    weight = floats(64, 64, 1, 1)
    return model(LAYER, w=np.where(abs(weight) > 1.6, weight, 0).astype(np.float32))


def rigged(function: Callable, change: Callable) -> Callable:
    """`function` with its result changed."""
    return lambda *given, **named: change(function(*given, **named))


def other_operand(found):
    return found if found is None else (found[0], affine.Affine(found[1].scale, found[1].shift + 1))


def shuffled(packed):
    """The first index moved to its neighbour."""
    indices = packed.indices.copy()
    indices[0] = (indices[0] + 1) % 64
    return dataclasses.replace(packed, indices=indices)


Fault = tuple[Callable, object, str, object]
FAULTS: dict[str, Fault] = {
    "padding on the wrong side": (
        picture,
        padding,
        "_split_pads",
        lambda totals, more_first, split=padding._split_pads: split(totals, more_first=not more_first),
    ),
    "a weight that is not transposed": (picture, canonical, "_transposed", lambda graph, value, name, steps: value),
    "channels in the wrong order": (
        picture,
        affine,
        "_per_channel",
        rigged(affine._per_channel, lambda array: None if array is None else array[::-1]),
    ),
    "a bias that is lost": (
        picture,
        affine,
        "_replace_weights",
        lambda graph, layer, weight, bias, dtype, put=affine._replace_weights: put(graph, layer, weight, None, dtype),
    ),
    "a mean that is forgotten": (picture, affine, "_batchnorm", rigged(affine._batchnorm, other_operand)),
    "another epsilon": (
        text,
        norms,
        "_core",
        rigged(norms._core, lambda core: core and dataclasses.replace(core, epsilon=0.5)),
    ),
    "a permutation for its inverse": (text, transposes, "_inverse", lambda perm: perm),
    "a slice taken for all": (text, cleanup._IDLE, "Slice", cleanup._always),
    "a shift taken for no padding": (text, cleanup._IDLE, "Pad", cleanup._always),
    "the other branch": (
        text,
        cleanup,
        "constant",
        rigged(cleanup.constant, lambda array: ~array if array is not None and array.dtype == bool else array),
    ),
    "any activation taken for Gelu": (text, fuse, "_close", lambda *given: True),
    "constants that are rounded": (
        text,
        fold,
        "_evaluate",
        rigged(fold._evaluate, lambda arrays: arrays and [array + array.dtype.type(1) for array in arrays]),
    ),
    "gates in the wrong order": (
        sequence,
        recurrent._Expansion,
        "_gate",
        lambda self, value, k, gate=recurrent._Expansion._gate: gate(self, value, (k + 1) % 4),
    ),
    "an activation that is left out": (picture, epilogue, "applied", lambda activation, x: x),
    "a residual that is left out": (
        picture,
        epilogue.Epilogue,
        "apply",
        lambda self, sum_, residual=None, scale=None: (
            sum_ if self.activation is None else epilogue.applied(self.activation, sum_)
        ),
    ),
    "another function": (layer, kernel_math, "erf", kernel_math.tanh),
    "memory that is given away too early": (
        picture,
        arena,
        "_last_reads",
        lambda calls, outputs: {tensor.memory: 0 for call in calls for tensor in arena._tensors(call)},
    ),
    "an index that is off by one": (layer, sparse, "pack_groups", rigged(formats.pack_groups, shuffled)),
    "a mean that is a sum": (text, reduce, "_scaled", lambda reduction, value, count, lanes: value),
    "a window that counts too much": (picture, pool, "_scales", rigged(pool._scales, lambda scales: scales * 0.5)),
    "softmax along another axis": (
        text,
        softmax,
        "softmax",
        lambda outer, count, inner, *rest, make=softmax.softmax: make(outer * inner, count, 1, *rest),
    ),
    "a normalisation without its gain": (
        text,
        norm_kernels._READERS,
        "LayerNormalization",
        rigged(norm_kernels._read_trailing, lambda found: found and (found[0], found[1], 1)),
    ),
}


@pytest.mark.parametrize("build", [picture, text, sequence, layer])
def test_without_a_fault_all_agree(build, tmp_path):
    seen = edgesparse.compile(build(), output=tmp_path / "out.esp").witness

    assert (seen.imported, seen.code) == ("agrees", "agrees")
    assert 0 <= seen.max_error < 1e-4


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_stopped(fault, tmp_path, monkeypatch):
    build, where, name, wrong = fault
    put = monkeypatch.setitem if isinstance(where, dict) else monkeypatch.setattr
    put(where, name, wrong)

    with pytest.raises(WitnessError, match=r"^(import|code) .*: this is our fault, please report it$"):
        edgesparse.compile(build(), output=tmp_path / "out.esp")

    assert not (tmp_path / "out.esp").exists()
