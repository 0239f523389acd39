"""CIFAR images and their training, and the bench on them, with tiny settings."""

from __future__ import annotations

import io
import json

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")
image_format = pytest.importorskip("PIL.Image", reason="pillow is not installed; the extra bench has it")

from bench.pruning import cifar as bench  # noqa: E402
from bench.pruning import oneshot  # noqa: E402
from models import cifar  # noqa: E402
from models.cifar import Images, Recipe  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")

NETWORK = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[1, 3, 32, 32] image) => (float[1, 10] scores)
{
    c1 = Conv <strides = [4, 4], pads = [1, 1, 1, 1]> (image, w1, b1)
    r1 = Relu (c1)
    c2 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (r1, w2, b2)
    r2 = Relu (c2)
    mean = GlobalAveragePool (r2)
    flat = Flatten (mean)
    scores = Gemm <transB = 1> (flat, w3, b3)
}
"""
SHAPES = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (16, 8, 3, 3), "b2": (16,), "w3": (12, 16), "b3": (12,)}


def pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def stored(path, train, test):
    """A file of images as `load` reads them, without loss: as PNG."""
    arrays = {}
    for split, images in (("train", train), ("test", test)):
        files = []
        for image in images:
            buffer = io.BytesIO()
            image_format.fromarray(image).save(buffer, "png")
            files.append(buffer.getvalue())
        arrays[f"{split}_bytes"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"{split}_offsets"] = np.cumsum([0, *map(len, files)])
        arrays[f"{split}_labels"] = np.arange(len(images)) % 10
    np.savez(path, **arrays)


def test_images_are_decoded_once(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "CACHE", tmp_path / "cache")
    train, test = pixels(5), pixels(3, seed=1)
    stored(tmp_path / "data.npz", train, test)

    first = cifar.load(tmp_path / "data.npz", "test")
    (cached,) = (tmp_path / "cache").iterdir()
    written = cached.stat().st_mtime_ns
    again = cifar.load(tmp_path / "data.npz", "test")

    for images in (first, again):
        np.testing.assert_array_equal(images.pixels.numpy(), test)
        assert images.labels.tolist() == [0, 1, 2]
    assert cached.stat().st_mtime_ns == written
    np.testing.assert_array_equal(cifar.load(tmp_path / "data.npz", "train").pixels.numpy(), train)


def test_images_are_standardised_by_channel():
    grey = torch.full((1, 2, 2, 3), 51, dtype=torch.uint8)  # a fifth

    x = cifar.standardised(grey)

    expected = [(0.2 - mean) / deviation for mean, deviation in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    np.testing.assert_allclose(x[0, :, 1, 1].numpy(), expected, rtol=1e-5)


def test_an_epoch_shows_every_image_once_moved_by_up_to_four_pixels_or_mirrored():
    images = Images(torch.from_numpy(pixels(12)), torch.arange(12))

    shown = list(images.shuffled(5, np.random.default_rng(0)))

    labels = torch.cat([y for _, y in shown]).tolist()
    assert [len(y) for _, y in shown] == [5, 5] and len(set(labels)) == 10
    kinds = set()
    for x, label in zip(torch.cat([x for x, _ in shown]), labels, strict=True):
        padded = np.pad(images.pixels[label].numpy(), ((4, 4), (4, 4), (0, 0)))
        windows = {
            (down, right, mirrored): torch.from_numpy(window[:, :: -1 if mirrored else 1].copy())
            for down in range(9)
            for right in range(9)
            for mirrored in (False, True)
            for window in (padded[down : down + 32, right : right + 32],)
        }
        (kind,) = (kind for kind, window in windows.items() if torch.equal(cifar.standardised(window[None])[0], x))
        kinds.add(kind)
    assert len(kinds) > 5 and {mirrored for *_, mirrored in kinds} == {False, True}


def test_a_teacher_replaces_its_share_of_the_loss():
    """Student [1, 0], teacher [0, 0]: cross-entropy log(1 + 1/e), divergence log(1 + e) - 1/2 - log 2."""
    x = torch.tensor([[1.0, 0.0]])
    recipe = Recipe(1, teaching=0.25, temperature=1.0, bfloat16=False)

    loss = cifar._loss(torch.nn.Identity(), x, torch.tensor([0]), recipe, lambda x: torch.zeros_like(x))

    entropy, divergence = np.log1p(np.exp(-1)), np.log1p(np.e) - 0.5 - np.log(2)
    assert float(loss) == pytest.approx(0.75 * entropy + 0.25 * divergence, rel=1e-5)


def test_training_learns_and_decays_matrices_only():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
    bright = torch.arange(256) % 2
    images = Images((bright * 200)[:, None, None, None].expand(256, 32, 32, 3).to(torch.uint8), bright)
    recipe = Recipe(6, rate=1e-3, batch=32)
    optimizer = cifar.optimizer_for(module, recipe)
    lines = []

    cifar.train(module, images, recipe, optimizer=optimizer, progress=lines.append)

    assert cifar.accuracy(module, images) == 1.0
    assert len(lines) == 6 and lines[0].startswith("epoch 1 of 6, loss ")
    decay = {group["weight_decay"]: [tuple(p.shape) for p in group["params"]] for group in optimizer.param_groups}
    assert decay == {5e-4: [(2, 3072)], 0.0: [(2,)]}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a network and images for it."""
    monkeypatch.setattr(cifar, "CACHE", tmp_path / "cache")
    stored(tmp_path / bench.DATA, pixels(256), pixels(20, seed=1))
    model = onnx.parser.parse_model(NETWORK.replace("10]", "12]"))
    rng = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.standard_normal(shape, np.float32) / 4, name))
    onnx.save(model, str(tmp_path / "net.onnx"))
    return tmp_path


def weights(path):
    """The second convolution, and the linear layer [out, in]."""
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer]
    (conv,) = (array for array in arrays if array.shape == (16, 8, 3, 3))
    (linear,) = (array for array in arrays if array.shape == (16, 12))
    return conv, linear.T


def macs(path):
    """Multiply-accumulates of the network, by the shapes of its weights and its 64, 16 and 1 places."""
    shapes = [tensor.dims for tensor in onnx.load(str(path)).graph.initializer if len(tensor.dims) > 1]
    first, second, linear = sorted(shapes, key=lambda shape: (len(shape) == 2, shape[1] != 3))
    return 64 * np.prod(first) + 16 * np.prod(second) + np.prod(linear)


def test_every_run_leaves_what_it_should_and_is_done_once(place, capsys):
    runs = ["dense", "magnitude-90", "gradual-80", "2of4", "4x1-80", "half-macs", "static-90", "rigl-90"]
    command = ["--data", place, "--model", place / "net.onnx", "--epochs", 1, "--threads", 1, "--calibration", 8]
    command = [*map(str, command), "--runs", ",".join(runs), "-o", str(place / "out.json")]

    bench.main(command)
    found = json.loads((place / "out.json").read_text())
    printed = capsys.readouterr().out
    bench.main(command)

    assert list(found) == runs and all(run["agrees"] for run in found.values())
    assert json.loads((place / "out.json").read_text()) == found
    assert "epoch 1 of 1" in printed and "epoch 1 of 1" not in capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in runs)
    for name, share in (("magnitude-90", 0.1), ("gradual-80", 0.2), ("static-90", 0.1), ("rigl-90", 0.1)):
        kept = [np.count_nonzero(array) for array in weights(place / "out" / f"{name}.onnx")]
        assert sum(kept) == pytest.approx(share * (16 * 72 + 12 * 16), abs=1)
    conv, linear = weights(place / "out" / "2of4.onnx")
    assert (np.count_nonzero(conv.reshape(16, 2, 4, 9), axis=2) == 2).all()
    assert (np.count_nonzero(linear.reshape(12, 4, 4), axis=2) == 2).all()
    conv, linear = weights(place / "out" / "4x1-80.onnx")
    for matrix in (conv.reshape(16, 72), linear):
        filled = np.count_nonzero(matrix.reshape(len(matrix) // 4, 4, -1), axis=1)
        assert set(np.unique(filled)) <= {0, 4}
    assert macs(place / "out" / "dense.onnx") == found["dense"]["macs"] == 8 * 27 * 64 + 16 * 72 * 16 + 12 * 16
    half = found["half-macs"]
    assert macs(place / "out" / "half-macs.onnx") == half["macs"] < 0.6 * found["dense"]["macs"]
    assert half["density"] == 1


def test_one_shot_runs_leave_points_lost_by_method_and_shape(place, capsys):
    runs = ["magnitude-90", "sparsegpt-own-50", "admm-2of4", "recovered-2of4", "output-refit-macs-30"]
    command = ["--data", place, "--model", place / "net.onnx", "--calibration", 8, "--runs", ",".join(runs)]
    command += ["--recovery", 1]

    oneshot.main([*map(str, command), "-o", str(place / "oneshot.json")])

    found = json.loads((place / "oneshot.json").read_text())
    table = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert list(found) == ["dense", *runs]
    zeros, channels = len(oneshot.SHAPES) + 2, len(oneshot.SHARES) + 2
    assert [len(row) for row in table] == [zeros] * 5 + [channels] * 2
    lost = 100 * (found["dense"]["accuracy"] - found["admm-2of4"]["accuracy"])
    assert table[3][1 + list(oneshot.SHAPES).index("2of4")] == f"{lost:.1f}"
    with pytest.raises(SystemExit):
        oneshot.main([*map(str, command), "--runs", "magic-50"])


def test_runs_that_are_not_known_are_refused(place, capsys):
    with pytest.raises(SystemExit):
        bench.main(["--data", str(place), "--model", str(place / "net.onnx"), "--runs", "dense,magic"])

    assert "--runs: 'magic' is unknown; expected some of dense, magnitude-50" in capsys.readouterr().err
