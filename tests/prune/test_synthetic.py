"""Pictures that are made up fit the first layer of a network; without one of pictures they are refused."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import edgesparse
from edgesparse.errors import PruneError
from edgesparse.frontend import load
from edgesparse.prune import synthetic
from tests.frontend.graphs import floats, model
from tests.models import ort_run

FIRST = "a = Conv <pads = [1, 1, 1, 1]> (x, w, b) r = Relu (a) y = Conv (r, v)"


def network(mean: float, left: float, body: str = FIRST, declared: str = "float[n, 3, 33, 17] x") -> ir.Model:
    """A network whose first bias makes up for inputs of this mean, but for what is left."""
    w = floats(16, 3, 3, 3)
    b = -mean * w.sum(axis=(1, 2, 3)) + np.float32(left) * floats(16, seed=1)
    constants = {"w": w, "b": b.astype(np.float32), "v": floats(8, 16, 3, 3, seed=2)}
    used = {
        name: array for name, array in constants.items() if name in body.replace(",", " ").replace(")", " ").split()
    }
    return model(f"g ({declared}) => (y) {{ {body} }}", **used)


@pytest.mark.parametrize(("mean", "left"), [(0.0, 0.5), (120.0, 40.0), (-0.4, 0.1)])
def test_pictures_have_the_mean_that_the_bias_makes_up_for_and_spread_outputs_over_what_is_left_of_it(mean, left):
    source = network(mean, left)

    (pictures,) = synthetic(load(source)).values()

    assert pictures.shape == (192, 3, 33, 17) and pictures.dtype == np.float32
    gain, rest = floats(16, 3, 3, 3).sum(axis=(1, 2, 3)), left * floats(16, seed=1)
    moved = -float(rest @ gain / (gain @ gain))  # the part of the rest that looks like a mean
    assert pictures.mean() == pytest.approx(mean + moved, abs=1e-3 * left)
    silent = network(0.0, 0.0, "y = Conv <pads = [1, 1, 1, 1]> (x, w)")
    centred = pictures[:32, None] - np.float32(mean + moved)  # else edges are seen, beyond which are zeros
    outputs = np.stack([ort_run(silent, {"x": picture})[0][0] for picture in centred])
    spread = np.sqrt((outputs.std(axis=(0, 2, 3)) ** 2).mean())
    assert spread == pytest.approx(1.5 * np.sqrt(((rest + moved * gain) ** 2).mean()), rel=1e-3)


def test_they_are_the_same_each_time_and_with_channels_last():
    last = network(3.0, 1.0, f"x = Transpose <perm = [0, 3, 1, 2]> (i) {FIRST}", "float[n, 33, 17, 3] i")

    (first,), (again,), (moved,) = (
        synthetic(load(each)).values() for each in (network(3.0, 1.0), network(3.0, 1.0), last)
    )

    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(np.moveaxis(moved, 3, 1), first, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("declared", "shape"),
    [
        ("uint8[20, 24, 3] x", (192, 20, 24, 3)),
        ("uint8[3, 20, 24] x", (192, 3, 20, 24)),
        ("uint8[20, 24] x", (192, 20, 24)),
        ("uint8[n, 20, 24, 1] x", (192, 20, 24, 1)),
    ],
)
def test_frames_have_the_pixels_of_photographs(declared, shape):
    (frames,) = synthetic(load(model(f"g ({declared}) => (y) {{ y = Cast <to = 1> (x) }}"))).values()

    assert (frames.shape, frames.dtype) == (shape, np.uint8)
    assert frames.mean() == pytest.approx(115, abs=3) and frames.std() == pytest.approx(58, abs=4)


def test_a_model_that_takes_frames_is_pruned_on_made_up_ones(tmp_path):
    ir.save(network(0.0, 0.5, declared="float[n, 3, 16, 16] x"), tmp_path / "m.onnx")

    report = edgesparse.compile(
        tmp_path / "m.onnx",
        output=tmp_path / "m.esp",
        sparsity=0.5,
        calibration="synthetic",
        preprocess="x=uint8,from=24x20,mean=120,std=60",
    )

    assert report.pruning.method == "admm"


def test_without_a_bias_nothing_is_known_of_them():
    (pictures,) = synthetic(load(network(0.0, 0.0, "a = Conv (x, w) y = Relu (a)"))).values()

    assert pictures.mean() == pytest.approx(0.0, abs=1e-4) and pictures.std() == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize(
    ("declared", "body"),
    [
        ("float[n, 3, 33, 17] x, float[1] z", f"{FIRST.replace('y =', 'q =')} y = Add (q, z)"),
        ("float[n, 3, 33, 7] x", FIRST),
        ("float[n, 3, 33] x", "y = Relu (x)"),
        ("float[n, 3, 33, 17] x", "y = Relu (x)"),
        ("int32[n, 3, 33, 17] i", f"x = Cast <to = 1> (i) {FIRST}"),
        ("uint8[n, 33] i", "y = Cast <to = 1> (i)"),
        ("uint8[n, 5, 33, 17] i", "y = Cast <to = 1> (i)"),
    ],
)
def test_what_takes_no_picture_is_refused_with_a_way_out(declared, body):
    with pytest.raises(PruneError, match=r"synthetic samples are pictures.*--calibration samples\.npz"):
        synthetic(load(network(0.0, 1.0, body, declared)))


def test_a_model_is_pruned_on_them_and_nobody_says_that_it_agrees(tmp_path):
    ir.save(network(0.0, 0.5, declared="float[n, 3, 16, 16] x"), tmp_path / "m.onnx")

    report = edgesparse.prune(
        tmp_path / "m.onnx", tmp_path / "s.onnx", sparsity=0.5, structured=0.2, multiple=1, calibration="synthetic"
    )

    assert (report.method, report.agreement) == ("admm", ())
    assert report.warning is not None and "pictures that were made up" in report.warning
    pruned = ir.load(tmp_path / "s.onnx").graph.initializers["v"].const_value.numpy()
    assert np.count_nonzero(pruned) == pytest.approx(pruned.size / 2, abs=1) and pruned.shape[1] < 16


def test_an_artifact_tells_that_its_samples_were_made_up_and_verify_makes_them_again(tmp_path):
    ir.save(network(0.0, 0.5, declared="float[n, 3, 16, 16] x"), tmp_path / "m.onnx")

    edgesparse.compile(tmp_path / "m.onnx", output=tmp_path / "m.esp", sparsity=0.5, calibration="synthetic")

    assert edgesparse.verify(tmp_path / "m.esp", tmp_path / "m.onnx").agrees
