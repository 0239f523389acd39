"""What kernels are called: words that say what they are, and a digest only where words do not do."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgesparse import frontend, schedule
from edgesparse.backends.cpu import lower
from edgesparse.backends.cpu.kernel import kernel_symbol
from edgesparse.devices import targets
from edgesparse.forms.dense import DenseTile
from edgesparse.forms.narrow import NarrowTile
from edgesparse.forms.sparse import SparseTile
from edgesparse.graph.ops import graph_of
from edgesparse.numerics import F32, PLAIN, Numerics, element
from tests.frontend.graphs import floats, model

RPI4 = targets.load("rpi4")
SYMBOL = r"es(_[a-z0-9]+)+_(f32|i64)(_[a-z0-9]+)*__(rpi4|any)(_[0-9a-f]{8})?"
TEXT = """g (float[1, 3, 12, 12] x) => (float[1, 10] y, int64[1, 1] label) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1)
    r = Relu (a)
    b = Conv <group = 16, pads = [1, 1, 1, 1]> (r, w2)
    c = Conv (b, w3)
    m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c)
    p = GlobalAveragePool (m)
    f = Flatten (p)
    g = Gemm (f, w4)
    s = Softmax (g)
    y = Tanh (s)
    label = ArgMax <axis = 1> (y)
}"""


def test_symbols_say_operator_type_form_and_target():
    weight = floats(32, 16, 1, 1, seed=2) * (np.arange(512).reshape(32, 16, 1, 1) % 8 == 0)
    arrays = {"w1": floats(16, 3, 3, 3), "w2": floats(16, 1, 3, 3, seed=1), "w3": weight, "w4": floats(32, 10, seed=3)}
    program = lower(schedule.plan(graph_of(frontend.load(model(TEXT, **arrays))), RPI4), RPI4)

    symbols = [step.kernel for step in program.steps]
    assert all(re.fullmatch(SYMBOL, symbol) for symbol in symbols), symbols
    starts = ("es_planes_f32_3x3_c3__", "es_tiled_f32_", "es_depthwise_f32_3x3_c16__", "es_max_pool_f32_2x2_c32__")
    assert all(any(symbol.startswith(start) for symbol in symbols) for start in starts), symbols
    assert "es_softmax_f32_o1n10__rpi4" in symbols


def test_what_differs_in_a_fact_or_a_type_differs_in_its_symbol():
    u8, i8 = element("uint8"), element("int8")
    mixed = [Numerics(u8, i8, u8.wide, y) for y in (u8, F32)]

    symbols = [kernel_symbol("tiled", numerics, "dense", RPI4, fact) for numerics in (PLAIN, *mixed) for fact in (1, 2)]

    assert len(set(symbols)) == 6 and symbols[2].startswith("es_tiled_u8i8_dense__rpi4_")
    assert kernel_symbol("copy", F32, "n7", None) == "es_copy_f32_n7__any"


@pytest.mark.parametrize(
    "other",
    [
        SparseTile(4, 65),
        SparseTile(4, 64, rows=2),
        SparseTile(4, 64, splits=2),
        SparseTile(4, 64, block=(4, 1)),
        SparseTile(4, 64, chunk=4),
        NarrowTile(4, 64, columns=3),
    ],
)
def test_tiles_that_differ_have_names_that_differ(other):
    assert other.name != SparseTile(4, 64).name == DenseTile(4, 64).name == "u4k64r1"
