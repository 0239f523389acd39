"""Finding weights: the matrix view times im2col is what the operator computes."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.sparsity.weights import find_weights
from tests.frontend.graphs import floats, model


def _only(source):
    (ref,) = find_weights(source)
    return ref


@pytest.mark.parametrize(
    ("body", "weight", "expected"),
    [
        ("y = MatMul (x, w)", floats(4, 6), lambda w: w.T),
        ("y = MatMul (w, x)", floats(6, 4), lambda w: w),
        ("y = Gemm (x, w)", floats(4, 6), lambda w: w.T),
        ("y = Gemm <transB = 1> (x, w)", floats(6, 4), lambda w: w),
        ("t = Transpose (w) y = MatMul (x, t)", floats(6, 4), lambda w: w),
        ("i = Identity (w) y = MatMul (x, i)", floats(4, 6), lambda w: w.T),
        ("r = Reshape (w, s) y = MatMul (x, r)", floats(2, 2, 6), lambda w: w.reshape(4, 6).T),
        ("y = Conv (x, w)", floats(6, 4, 3, 3), lambda w: w.reshape(6, 36)),
        ("y = Conv <group = 2> (x, w)", floats(6, 2, 1, 1), lambda w: w.reshape(6, 2)),
        ("y = ConvTranspose (x, w)", floats(4, 6, 3, 3), lambda w: w.transpose(1, 0, 2, 3).reshape(6, 36)),
        (
            "y = ConvTranspose <group = 2> (x, w)",
            floats(4, 3, 1, 1),
            lambda w: np.concatenate([w[:2, :, 0, 0].T, w[2:, :, 0, 0].T]),
        ),
    ],
)
def test_matrix_has_one_row_for_each_output_channel(body, weight, expected):
    shape = "4, 4" if weight.ndim < 4 else "1, 4, 8, 8"
    ref = _only(model(f"g (float[{shape}] x) => (float[?] y) {{ {body} }}", w=weight, s=np.array([4, 6])))

    matrix = ref.to_matrix(ref.array())

    np.testing.assert_array_equal(matrix, expected(weight))
    np.testing.assert_array_equal(ref.from_matrix(matrix), weight)


def test_batched_weights_stack_their_rows():
    weight = floats(3, 4, 5)
    ref = _only(model("g (float[3, 2, 4] x) => (float[3, 2, 5] y) { y = MatMul (x, w) }", w=weight))

    matrix = ref.to_matrix(weight)

    np.testing.assert_array_equal(matrix, np.concatenate([part.T for part in weight]))
    np.testing.assert_array_equal(ref.from_matrix(matrix), weight)


def test_zeros_are_counted():
    weight = floats(4, 6)
    weight[:, :3] = 0

    ref = _only(model("g (float[2, 4] x) => (float[2, 6] y) { y = MatMul (x, w) }", w=weight))

    assert (ref.nnz, ref.size, ref.density) == (12, 24, 0.5)
    assert (ref.macs, ref.effective_macs) == (48, 24)


@pytest.mark.parametrize(
    ("group", "shape", "depthwise"), [(4, (4, 1, 3, 3), True), (4, (8, 1, 3, 3), True), (2, (4, 2, 3, 3), False)]
)
def test_depthwise_means_one_input_channel_for_each_output(group, shape, depthwise):
    source = model(f"g (float[1, 4, 8, 8] x) => (float[?] y) {{ y = Conv <group = {group}> (x, w) }}", w=floats(*shape))

    assert _only(source).depthwise is depthwise


def test_only_the_first_convolution_is_first():
    text = "g (float[1, 4, 8, 8] x) => (float[?] y) { a = Conv (x, w) y = Conv (a, v) }"

    refs = find_weights(model(text, w=floats(4, 4, 1, 1), v=floats(4, 4, 1, 1)))

    assert [ref.first_conv for ref in refs] == [True, False]


def test_weights_in_branches_are_found():
    text = """g (bool f, float[2, 4] x) => (float[2, 6] y) {
        y = If (f) <
            then_branch = a () => (float[2, 6] t) { t = MatMul (x, w) },
            else_branch = b () => (float[2, 6] e) { e = MatMul (x, v) }
        >
    }"""

    assert {ref.tensor for ref in find_weights(model(text, w=floats(4, 6), v=floats(4, 6)))} == {"w", "v"}


def test_products_of_activations_hold_no_weights():
    assert find_weights(model("g (float[2, 4] x, float[4, 2] z) => (float[2, 2] y) { y = MatMul (x, z) }")) == []
