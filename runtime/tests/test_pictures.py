"""esrun and the binding take frames as they are, in any order of channels, and name the classes of what comes out."""

from __future__ import annotations

import numpy as np
import pytest
from edgesparse_runtime import EdgesparseRuntimeError, Model

from edgesparse.package.writer import serialize, write
from runtime import build
from runtime.tests import samples
from runtime.tests.conftest import launcher, run_program

SHAPES = {"rgb": (5, 7, 3), "bgr": (5, 7, 3), "grey": (5, 7), "rgb-planes": (3, 5, 7), "bgr-planes": (3, 5, 7)}
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def frame_of(kind: str) -> np.ndarray:
    """The pixels as a model of this kind takes them."""
    if kind == "grey":
        return PIXELS[:, :, 0]
    pixels = PIXELS[:, :, ::-1] if kind.startswith("bgr") else PIXELS
    return pixels.transpose(2, 0, 1) if kind.endswith("planes") else pixels


def ppm(pixels: np.ndarray = PIXELS, header: str | None = None) -> bytes:
    """A P6 or P5 file."""
    kind = "P6" if pixels.ndim == 3 else "P5"
    return (header or f"{kind} {pixels.shape[1]} {pixels.shape[0]} 255\n").encode() + pixels.tobytes()


@pytest.mark.parametrize(
    ("platform", "kind"), [*((build.host_platform(), kind) for kind in SHAPES), ("aarch64", "rgb"), ("armv7", "bgr")]
)
def test_esrun_reads_a_picture_in_the_order_that_the_model_takes(platform, kind, tmp_path):
    write([samples.echo_model(platform, kind, SHAPES[kind])], {}, tmp_path / "m.esp")
    (tmp_path / "f.ppm").write_bytes(ppm(PIXELS[:, :, 0] if kind == "grey" else PIXELS))
    program = [*launcher(platform), build.esrun(platform), tmp_path / "m.esp"]

    result = run_program(*program, "--image", tmp_path / "f.ppm", "--output", tmp_path / "y.npy")

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), frame_of(kind))


@pytest.fixture
def esrun(host, tmp_path):
    """Runs esrun on a model that takes red, green, blue."""
    write([samples.echo_model(host, "rgb", SHAPES["rgb"])], {}, tmp_path / "m.esp")
    return lambda *options: run_program(build.esrun(host), tmp_path / "m.esp", *options)


@pytest.mark.parametrize(
    "header",
    ["P6\n7 5\n255\n", "P6 # a comment 99\n# another\n7 #\n\t5\n 255 ", "P6\r\n007 5 255\r"],
)
def test_headers_may_have_spaces_and_comments(esrun, tmp_path, header):
    (tmp_path / "f.ppm").write_bytes(ppm(header=header))

    result = esrun("--image", f"frame={tmp_path}/f.ppm", "--output", tmp_path / "y.npy")

    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), PIXELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a picture of kind P6 or P5; make one: magick"),
        (b"P3 7 5 255 1 2 3", "is not a picture of kind P6 or P5"),
        (ppm(header="P5 7 5 255\n"), "got P5, expected P6, since input 'frame' takes colours"),
        (ppm(header="P6 5 7 255\n"), "got 5x7 pixels, expected 7x5, the frame of input 'frame'; magick"),
        (ppm(header="P6 7 5 65535\n"), "got pixels from 0 to 65535, expected 0 to 255"),
        (ppm(header="P6 7 5 15\n"), "got pixels from 0 to 15, expected 0 to 255"),
        (ppm(header="P6 99999999999999999999 5 255\n"), "is damaged: its header holds no width"),
        (ppm(header="P6 -7 5 255\n"), "is damaged: its header holds no width"),
        (ppm(header="P6 7 5 255x"), "is damaged: its header holds no width"),
        (b"P6 7 5", "is damaged: its header holds no width"),
        (b"P6 7 # 5 255", "is damaged: its header holds no width"),
        (ppm()[:-1], "is shorter than its header says"),
        (ppm() + b"\0", "is longer than its header says"),
        (None, "cannot be opened: No such file"),
    ],
)
def test_a_file_that_is_no_such_picture_is_refused_in_one_line(esrun, tmp_path, content, message):
    if content is not None:
        (tmp_path / "f.ppm").write_bytes(content)

    result = esrun("--image", tmp_path / "f.ppm", "--top", "3")

    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert message in result.stderr


def test_a_model_that_takes_no_pictures_says_how_it_would(host, tmp_path):
    write([samples.sparse_model(host).program], {}, tmp_path / "m.esp")
    (tmp_path / "f.ppm").write_bytes(ppm())

    result = run_program(build.esrun(host), tmp_path / "m.esp", "--image", tmp_path / "f.ppm")

    assert result.returncode == 1
    assert result.stderr.endswith("input 'x' takes no picture; compile the model with --preprocess x=uint8\n")


def test_the_largest_elements_are_printed_with_their_labels(host, tmp_path):
    sample = samples.sparse_model(host)
    write([sample.program], {}, tmp_path / "m.esp")
    np.save(tmp_path / "x.npy", sample.inputs["x"])

    result = run_program(build.esrun(host), tmp_path / "m.esp", "--input", tmp_path / "x.npy", "--top", 100)

    sums = sample.outputs["s"]
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert [label for _, label in lines] == [f"größe {at}" for at in np.argsort(-sums, kind="stable")]
    np.testing.assert_allclose([float(score) for score, _ in lines], np.sort(sums)[::-1], rtol=1e-4)
    with Model(tmp_path / "m.esp") as model:
        assert model.labels == sample.program.labels
        assert [label for label, _ in model.top(model.run(sample.inputs), 3)] == [label for _, label in lines[:3]]


def test_without_labels_the_largest_have_numbers_and_equal_ones_keep_their_order(esrun, host, tmp_path):
    pixels = np.zeros((5, 7, 3), np.uint8)
    pixels.ravel()[[4, 20, 99]] = 9, 200, 200
    (tmp_path / "f.ppm").write_bytes(ppm(pixels))

    result = esrun("--image", tmp_path / "f.ppm")

    assert [line.split() for line in result.stdout.splitlines()] == [
        ["200", "20"],
        ["200", "99"],
        ["9", "4"],
        ["0", "0"],
        ["0", "1"],
    ]
    with Model(serialize([samples.echo_model(host, "rgb", (5, 7, 3))], {})) as model:
        assert model.top(model.run(pixels), 4) == [("20", 200.0), ("99", 200.0), ("4", 9.0), ("0", 0.0)]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            PIXELS.astype(np.float32),
            "got dtype float32, expected uint8; give the frame as the camera has it, rgb of 0 to",
        ),
        (
            PIXELS[None],
            r"got shape \(1, 5, 7, 3\), expected \(5, 7, 3\); give one frame, without an axis for several",
        ),
        (
            PIXELS[..., [0, 1, 2, 2]],
            r"got shape \(5, 7, 4\), .*; give a frame of rgb, its axes height, width, channels",
        ),
        (PIXELS[..., 0], r"got shape \(5, 7\), expected \(5, 7, 3\); give a frame of rgb, its axes height, width, ch"),
        (PIXELS[:4], r"got shape \(4, 7, 3\), expected \(5, 7, 3\); .*: --preprocess NAME=uint8,from=WIDTHxHEIGHT"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_with_the_option(host, array, message):
    with (
        Model(serialize([samples.echo_model(host, "rgb", (5, 7, 3))], {})) as model,
        pytest.raises(EdgesparseRuntimeError, match=message),
    ):
        model.run(array)


def test_a_frame_for_a_model_that_takes_numbers_is_refused_with_the_option(host):
    with (
        Model(serialize([samples.sparse_model(host).program], {})) as model,
        pytest.raises(
            EdgesparseRuntimeError, match="got dtype uint8, expected float32; for frames, .* --preprocess NAME="
        ),
    ):
        model.run(PIXELS)
