"""Old operator versions: the normal form computes what ONNX Runtime computes of the file as it is.

The sweep over operator versions has every operator and attribute; here is what a single node cannot show.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgesparse import frontend, reference
from edgesparse.errors import FrontendError

SAME = {
    "resize_shrinks_and_grows": (
        10,
        """g (float[1,1,9,5] x) => (float[1,1,H,W] y)
        { s = Constant<value=float[4]{1,1,0.6,1.7}>() y = Resize<mode="nearest">(x, s) }""",
    ),
    "resize_cubic_by_half_pixels": (
        11,
        """g (float[1,1,9,5] x) => (float[1,1,6,8] y) <float[0] r = {}, float[4] s = {1,1,0.7,1.7}>
        { y = Resize<mode="cubic", coordinate_transformation_mode="tf_half_pixel_for_nn", nearest_mode="floor">(x, r, s)
        }""",
    ),
    "clip_limits_infinity": (7, "g (float[4] x) => (float[4] y) { z = Exp(x) i = Exp(z) y = Clip(i) }"),
    "softmax_over_several_axes": (11, "g (float[2,3,4] x) => (float[2,3,4] y) { y = Softmax<axis=-2>(x) }"),
    "mask_of_dropout": (10, "g (float[2,3] x) => (float[2,3] y, bool[2,3] m) { y, m = Dropout(x) }"),
    "mask_of_no_declared_type": (7, "g (float[2,3] x) => (y, m) { y, m = Dropout(x) }"),
    "mask_of_a_number": (7, "g (float x) => (float y, float m) { y, m = Dropout(x) }"),
    "statistics_of_every_element": (
        7,
        """g (float[2,3,4] x) => (float[2,3,4] y) { s = Constant<value=float[3,4]{1,2,3,4,5,6,7,8,9,1,2,3}>()
        y = BatchNormalization<spatial=0>(x, s, s, s, s) }""",
    ),
    "axes_of_a_function": (
        13,
        """g (float[2,3,4] x) => (float[2,3] y) { y = mine.Mean<axes: ints = [2]>(x) }
        <opset_import: ["" : 13], domain: "mine"> Mean <axes> (a) => (c)
        { c = ReduceMean<axes: ints = @axes, keepdims = 0>(a) }""",
    ),
    "a_branch": (
        11,
        """g (float[2,3] x) => (float[2] y) { c = Constant<value=bool{1}>() y = If(c) <
        then_branch = t () => (float[2] a) { a = ReduceSum<axes=[1], keepdims=0>(x) },
        else_branch = e () => (float[2] b) { b = ReduceMax<axes=[1], keepdims=0>(x) }> }""",
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_normal_form_computes_what_the_file_computes(name: str) -> None:
    model = parsed(*SAME[name])
    feeds = random_feeds(model)

    normal = ir.to_proto(frontend.normalise(frontend.read(model)))

    right = reference.evaluate(model, feeds)
    for output, array in reference.evaluate(normal, feeds).items():
        assert (array.shape, array.dtype) == (right[output].shape, right[output].dtype)
        np.testing.assert_allclose(array, right[output], rtol=1e-5, atol=1e-6, err_msg=output)
    assert normal.opset_import[0].version >= 20


@pytest.mark.parametrize("opset", [13, 19, 20, 22])
def test_no_window_of_a_pool_starts_behind_the_image(opset: int) -> None:
    model = parsed(
        opset,
        """g (float[1,1,17,17] x) => (float[1,1,9,9] y)
        { y = MaxPool<kernel_shape=[2,2], strides=[2,2], pads=[1,1,1,1], ceil_mode=1>(x) }""",
    )

    (output,) = frontend.normalise(frontend.read(model)).graph.outputs

    assert list(output.shape or ()) == [1, 1, 9, 9]


def test_statistics_of_training_are_refused_by_name() -> None:
    model = parsed(
        10,
        """g (float[2,3,4] x, float[3] s) => (float[2,3,4] y, float[3] m, float[3] v)
        { y, m, v, a, b = BatchNormalization(x, s, s, s, s) }""",
    )

    with pytest.raises(FrontendError, match="BatchNormalization .*training"):
        frontend.normalise(frontend.read(model))


def parsed(opset: int, text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}, "mine" : 1]> {text}')


def random_feeds(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    constants = {tensor.name for tensor in model.graph.initializer}
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in model.graph.input
        if value.name not in constants
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
