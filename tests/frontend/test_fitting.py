"""Operands that do not fit each other, and sizes that nobody gives, are one line with their shapes."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.errors import FrontendError
from edgesparse.frontend import load
from edgesparse.frontend.shapes import assumed_batches
from tests.frontend.graphs import floats, model

IMAGE = "g (float[1, 4, 8, 8] x) => (float[a, b, c, d] y)"
STEPS = "g (float[5, 1, 3] x) => (float[a, b, c, d] y)"
MISFITS = {
    "channels": (
        IMAGE + " { [conv] y = Conv (x, w) }",
        {"w": floats(2, 3, 3, 3)},
        r"Conv 'conv' \(x FLOAT\[1, 4, 8, 8\], w FLOAT\[2, 3, 3, 3\]\): the input has 4 channels, the weights take 3",
    ),
    "channels of groups": (
        IMAGE + " { y = Conv <group = 2> (x, w) }",
        {"w": floats(2, 3, 3, 3)},
        r"Conv 'y' .*: the input has 4 channels, the weights take 6 in 2 groups",
    ),
    "rows of groups": (
        IMAGE + " { y = Conv <group = 2> (x, w) }",
        {"w": floats(3, 2, 3, 3)},
        "3 channels of the weights do not divide into 2 groups",
    ),
    "transposed": (
        IMAGE + " { y = ConvTranspose (x, w) }",
        {"w": floats(3, 2, 3, 3)},
        "the input has 4 channels, the weights take 3",
    ),
    "bias": (
        IMAGE + " { y = Conv (x, w, b) }",
        {"w": floats(2, 4, 3, 3), "b": floats(3)},
        r"the bias has the shape \[3\], expected \[2\]",
    ),
    "window": (
        IMAGE + " { y = Conv <kernel_shape = [1, 1]> (x, w) }",
        {"w": floats(2, 4, 3, 3)},
        r"kernel_shape is \[1, 1\], and the weights have the window \[3, 3\]",
    ),
    "statistics": (
        IMAGE + " { y = BatchNormalization (x, s, s, s, s) }",
        {"s": floats(3)},
        r"a parameter has the shape \[3\], expected \[4\], one a channel",
    ),
    "gain": (
        "g (float[2, 6] x) => (float[a, b] y) { y = LayerNormalization (x, s) }",
        {"s": floats(5)},
        r"a parameter has the shape \[5\], and the input \[2, 6\]",
    ),
    "slope": (
        "g (float[2, 6] x) => (float[a, b] y) { y = PRelu (x, s) }",
        {"s": floats(5)},
        r"the slope has the shape \[5\], and the input \[2, 6\]",
    ),
    "reflection": (
        'g (float[2, 3] x) => (float[a, b] y) { y = Pad <mode = "reflect"> (x, p) }',
        {"p": np.array([0, 3, 0, 0])},
        "reflect of 3 elements on axis 1, which has 3; expected at least 4",
    ),
    "reflection of what is left": (
        'g (float[2, 5] x) => (float[a, b] y) { y = Pad <mode = "reflect"> (x, p, , a) }',
        {"p": np.array([-3, 2]), "a": np.array([-1])},
        "reflect of 2 elements on axis -1, which has 2; expected at least 3",
    ),
    "addend": (
        "g (float[2, 6] x) => (float[a, b] y) { y = Gemm (x, w, c) }",
        {"w": floats(6, 3), "c": floats(4)},
        r"what is added has the shape \[4\], and the product \[2, 3\]",
    ),
    "product": (
        "g (float[2, 6] x) => (float[a, b] y) { y = MatMul (x, w) }",
        {"w": floats(5, 3)},
        r"MatMul 'y' \(x FLOAT\[2, 6\], w FLOAT\[5, 3\]\): Incompatible dimensions",
    ),
    "gates": (
        STEPS + " { y = LSTM <hidden_size = 2> (x, w, r) }",
        {"w": floats(1, 6, 3), "r": floats(1, 8, 2)},
        r"an operand has the shape \[1, 6, 3\], expected \[1, 8, 3\]",
    ),
    "activations": (
        STEPS + ' { y = GRU <hidden_size = 2, activations = ["HardSigmoid", "Tanh"]> (x, w, r) }',
        {"w": floats(1, 6, 3), "r": floats(1, 6, 2)},
        None,
    ),
}


@pytest.mark.parametrize(("text", "constants", "message"), MISFITS.values(), ids=MISFITS)
def test_operands_that_do_not_fit_are_told_with_their_shapes(text, constants, message):
    source = model(text, **constants)
    if message is None:
        load(source)
        return

    with pytest.raises(FrontendError, match=message):
        load(source)


def test_sizes_that_nobody_gives_are_asked_for():
    image = model('g (float["n", 3, "h", "w"] x) => (float["n", 3, "h", "w"] y) { y = Relu (x) }')
    tokens = model('g (int64["n", "t"] ids, int64["n", "t"] mask) => (int64["n", "t"] y) { y = Mul (ids, mask) }')

    with pytest.raises(FrontendError, match="input 'x' has dynamic sizes h, w; give --input-shape x=1,3,224,224$"):
        load(image)
    with pytest.raises(FrontendError, match=r"'ids' \(and 'mask'\) has dynamic sizes t; give --input-shape ids=1,128"):
        load(tokens)
    assert tuple(load(tokens, {"ids": (2, 7)}).graph.outputs[0].shape) == (2, 7)


def test_only_a_batch_is_taken_as_one_and_told():
    text = """g (float["n", 4] x, float[2, "n", 4] state) => (float["n", 4] y) {
        first = Gather <axis = 0> (state, zero)
        y = Add (x, first)
    }"""
    source = model(text, zero=np.array(0))

    assert assumed_batches(source) == ("x",)
    assert [tuple(value.shape) for value in load(source).graph.inputs] == [(1, 4), (2, 1, 4)]
    assert assumed_batches(source, {"x": (3, 4)}) == ()


def test_a_node_without_a_name_is_told_by_what_it_computes():
    text = 'g (float[4] x) => (int64[1, "a"] found) { found = NonZero (x) }'

    with pytest.raises(FrontendError, match=r"NonZero 'found' \(x FLOAT\[4\]\)"):
        load(model(text))


def test_a_branch_that_an_input_chooses_names_the_input():
    text = """g (float[4] x, int64 rate) => (float[n] y) {
        flag = Equal (rate, known)
        y = If (flag) <
            then_branch = a () => (float[2] t) { t = Slice (x, zero, two) },
            else_branch = b () => (float[4] e) { e = Identity (x) }
        >
    }"""
    constants = {"known": np.array(16000), "zero": np.array([0]), "two": np.array([2])}

    with pytest.raises(FrontendError, match="If 'y'.*remedy: if it is always the same, give --bind rate=VALUE"):
        load(model(text, **constants))


def test_a_hundred_steps_join_in_pieces():
    source = model(
        "g (float[100, 1, 3] x) => (float[a, b, c, d] y) { y = RNN <hidden_size = 2> (x, w, r) }",
        w=floats(1, 2, 3),
        r=floats(1, 2, 2),
    )

    widest = max(len(node.inputs) for node in load(source).graph)

    assert widest <= 32
