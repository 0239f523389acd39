"""What `preprocess` puts before a model: folded where that is exact; refused in one line where it cannot be."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgesparse.errors import FrontendError
from edgesparse.frontend import load, preprocessed
from tests.frontend.graphs import floats, model, ops
from tests.models import assert_close, ort_run
from tests.pictures import prepared

MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
NORMAL = "mean=123.7:116.3:103.5,std=58.4:57.1:57.4"


def convolution(pads: str) -> ir.Model:
    text = f"g (float[1, 3, 9, 9] x) => (float[1, 8, m, n] y) {{ y = Conv <pads = [{pads}]> (x, w) }}"
    return model(text, w=floats(8, 3, 3, 3))


@pytest.mark.parametrize(
    ("pads", "text", "kept"),
    [
        ("0, 0, 0, 0", NORMAL, []),
        ("1, 1, 1, 1", NORMAL, ["Sub", "Div"]),
        ("1, 1, 1, 1", "std=255", []),
        ("0, 0, 0, 0", f"bgr,from=12x7,{NORMAL}", ["Resize", "Gather"]),
    ],
)
def test_normalisation_goes_into_the_first_convolution_but_not_across_its_padding(pads, text, kept):
    source = convolution(pads)
    frame = np.random.default_rng(0).integers(0, 256, (7, 12, 3) if "from" in text else (9, 9, 3)).astype(np.uint8)

    normal = load(preprocessed(source, f"x={text}")[0])

    assert [op for op in ops(normal) if op not in ("Transpose", "Cast", "Reshape", "Pad")] == [*kept, "Conv"]
    mean, std = (MEAN, STD) if NORMAL in text else ((0.0,), (255.0,))
    fed = prepared(frame, (9, 9), mean, std, flip="bgr" in text).astype(np.float32)
    assert_close(ort_run(normal, {"x": frame})[0], ort_run(source, {"x": fed})[0], rtol=1e-4, atol=1e-5)


def test_the_model_itself_is_not_changed_and_names_that_it_has_are_left_to_it():
    text = """g (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y) {
        x_transpose = Neg (x) x_cast = Abs (x_transpose) y = Add (x_cast, x_reshape_1)
    }"""
    source = model(text, x_reshape_1=floats(1))

    framed, _ = preprocessed(source, "x=")

    assert tuple(source.graph.inputs[0].shape) == (1, 3, 4, 4) and len(source.graph) == 3
    frame = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    fed = {"x": prepared(frame, (4, 4)).astype(np.float32)}
    np.testing.assert_array_equal(ort_run(framed, {"x": frame})[0], ort_run(source, fed)[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", r"preprocess: got 'x', expected the name of an input, =, and parts: image=uint8"),
        ("=uint8", r"expected the name of an input"),
        ("uint8,mean=3", r"got 'uint8,mean=3', expected the name"),
        (
            "z=uint8",
            r"z: the model has no such input; it has 'x', 'flat', 'bytes', 'four', 'grey', 'copied', 'open', 'half'",
        ),
        ("x=uint9", r"x: unknown part 'uint9'; did you mean 'uint8'\?"),
        ("x=form=3x3", r"x: unknown part 'form=3x3'; did you mean 'from='\?"),
        ("x=mean", r"x: unknown part 'mean'; did you mean 'mean='\?"),
        (
            "x=1e5",
            r"x: unknown part '1e5'; known: uint8, float32, nhwc, nchw, rgb, bgr, letterbox, from=, size=, mean=",
        ),
        ("x=rgb,bgr", r"x: got 'rgb' and 'bgr', expected one order"),
        ("x=std=1,std=2", r"x: got '1' and '2', expected one std"),
        ("x=std=0", r"x: std: got '0', expected numbers above 0, one or one per channel"),
        ("x=std=1:-2:1", r"x: std: got '1:-2:1', expected numbers above 0"),
        ("x=std=1e-60", r"x: std: got '1e-60', expected numbers above 0"),
        ("x=mean=nan", r"x: mean: got 'nan', expected numbers"),
        ("x=mean=1e39", r"x: mean: got '1e39', expected numbers"),
        ("x=mean=1:2", r"x: mean: got 2 numbers, expected 1 or 3, one a channel"),
        ("x=mean=", r"x: mean: got '', expected numbers"),
        ("x=from=-1x2", r"x: from: got '-1x2', expected WIDTHxHEIGHT, such as 640x480, of at most 16,777,216 pixels"),
        ("x=from=0x2", r"x: from: got '0x2', expected WIDTHxHEIGHT"),
        ("x=from=4097x4096", r"x: from: got '4097x4096'"),
        ("x=from=9999999999999999999x1", r"x: from: got"),
        ("x=from=640", r"x: from: got '640'"),
        ("x=size=9x8", r"x: size: got 9x8, expected 8x8, which the model takes; or leave it out"),
        ("half=size=9x8", r"half: size: got 9x8, expected 8xany, which the model takes"),
        ("x=letterbox", r"x: letterbox keeps the frame's shape where it is resized; say its size with from=640x480"),
        ("flat=", r"flat: the model takes \[2, 3\], which is no picture; expected 1 or 3 channels, such as \[1, 3"),
        ("bytes=", r"bytes: the model takes UINT8, expected floats; leave preprocess out"),
        ("four=", r"four: takes 4 pictures, expected 1; export the model with a batch size of 1"),
        ("grey=nhwc,rgb", r"grey: the model takes grey pictures, of one channel, \[H, W\]; leave out nhwc and rgb"),
        ("copied=", r"copied: is an output of the model, too"),
        ("open=", r"open: the model takes pictures of any size; say which with size=224x224"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_one_line(text, message):
    source = model(
        """g (float[1, 3, 8, 8] x, float[2, 3] flat, uint8[1, 3, 8, 8] bytes, float[4, 3, 8, 8] four,
              float[1, 1, 8, 8] grey, float[1, 3, 8, 8] copied, float[1, 3, h, w] open,
              float[1, 3, h, 8] half)
        => (float[1, 3, 8, 8] y, float[1, 3, 8, 8] copied) { y = Neg (x) }"""
    )

    with pytest.raises(FrontendError, match=message) as caught:
        preprocessed(source, text)

    assert "\n" not in str(caught.value)


def test_two_texts_for_one_input_are_refused():
    with pytest.raises(FrontendError, match="preprocess: x: is given twice, expected all parts in one text"):
        preprocessed(convolution("0, 0, 0, 0"), ["x=rgb", "x=std=255"])
    with pytest.raises(FrontendError, match=r"preprocess: got \[3\], expected a text for each input"):
        preprocessed(convolution("0, 0, 0, 0"), [3])
