"""Files of the wrong kind are told by their first bytes, and nothing is written over an input or over another kind."""

from __future__ import annotations

import os
import struct
import zipfile

import numpy as np
import onnx
import pytest

import edgesparse
from edgesparse.errors import EdgesparseError, FrontendError, MeasureError, PackageError
from edgesparse.inputs import arrays
from edgesparse.signatures import ARTIFACT, ONNX, PROGRAM, kind_of
from tests.cli.models import classifier


def zipped(path, *members):
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, b"content")
    return path.read_bytes()


SAFETENSORS = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
KINDS = {
    "net.tflite": (b"\x1c\0\0\0TFL3" + bytes(24), "a TensorFlow Lite model", "tf2onnx"),
    "net.h5": (b"\x89HDF\r\n\x1a\n" + bytes(24), "an HDF5 file, perhaps of Keras", "tf2onnx"),
    "saved_model.pb": (b"\x08\x01\x12\x80\x10\x0a\x20\x2a\x05serve", "a TensorFlow SavedModel", "--saved-model"),
    "frozen.pb": (b"\x0a\x1a\x0a\x05input\x12\x0bPlaceholder*\x00", "a TensorFlow graph", "--graphdef"),
    "net.safetensors": (struct.pack("<Q", len(SAFETENSORS)) + SAFETENSORS + bytes(4), "a safetensors file", "module"),
    "net.gguf": (b"GGUF\x03\0\0\0" + bytes(24), "a GGUF file", "package.module:function"),
    "old.pth": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a pickle, perhaps a PyTorch checkpoint", "module"),
    "net.param": (b"7767517\n75 83\nInput data 0 1 data\n", "an ncnn network", "made from"),
    "net.xml": (b'<?xml version="1.0"?>\n<net name="g" version="11">', "an XML file, perhaps of OpenVINO", "made from"),
    "net.ort": (b"\x28\0\0\0ORTM" + bytes(24), "an ORT format model", "made from"),
    "cat.png": (b"\x89PNG\r\n\x1a\n" + bytes(24), "an image", ".onnx"),
    "cat.jpg": (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(24), "an image", ".onnx"),
    "x.npy": (b"\x93NUMPY\x01\0v\0{}", "numpy arrays", "--input"),
    "libnet.so": (b"\x7fELF\x02\x01\x01" + bytes(24), "an ELF file", ".onnx"),
    "net.tar.gz": (b"\x1f\x8b\x08" + bytes(24), "an archive", "unpack"),
    "pointer.onnx": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS", "lfs pull"),
    "page.onnx": (b"<!DOCTYPE html><html><head>", "an HTML page", "download"),
    "board.toml": (b'schema = 1\nname = "board"\n', "a target of edgesparse", "--target"),
}
ZIPS = {
    "script.pt": (("net/data.pkl", "net/constants.pkl", "net/code/x.py"), "a TorchScript module", "export the module"),
    "state.pth": (("archive/data.pkl", "archive/data/0"), "a PyTorch checkpoint", "package.module:function"),
    "net.keras": (("metadata.json", "config.json", "model.weights.h5"), "a Keras model", "tf2onnx"),
    "x.npz": (("a.npy", "b.npy"), "numpy arrays", "--input"),
    "program.onnx": (("p/archive_format", "p/models/model.json"), "a program by torch.export.save", "name it .pt2"),
    "net.zip": (("net.onnx",), "a zip archive", "unpack"),
}
"""Name of the file: what is in it, what it is, and a word of the way out."""


@pytest.mark.parametrize("name", [*KINDS, *ZIPS])
def test_another_kind_of_file_is_told_with_the_way_out(tmp_path, name):
    content, kind, remedy = KINDS.get(name) or ZIPS[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else zipped(path, *content))

    for use in (edgesparse.inspect, edgesparse.explain):
        with pytest.raises(FrontendError) as caught:
            use(path)

        message = str(caught.value)
        assert message.startswith(f"{path}: is {kind}") and "expected an ONNX model; remedy: " in message
        assert remedy in message and len(message) < 400


def test_compressed_arrays_are_told(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros(3))

    assert kind_of(tmp_path / "x.npz").name == "numpy arrays"


@pytest.mark.slow(part="torch")
def test_files_of_torch_are_told(tmp_path):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(2, 2)
    torch.save(layer.state_dict(), tmp_path / "state.pth")
    torch.save(layer.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.jit.script(layer).save(tmp_path / "script.pt")
    torch.export.save(torch.export.export(layer, (torch.ones(1, 2),)), tmp_path / "net.pt2")

    assert kind_of(tmp_path / "state.pth").name == "a PyTorch checkpoint"
    assert kind_of(tmp_path / "old.pth").name == "a pickle, perhaps a PyTorch checkpoint"
    assert kind_of(tmp_path / "script.pt").name == "a TorchScript module"
    assert kind_of(tmp_path / "net.pt2") is PROGRAM


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("files") / "model.onnx")


@pytest.fixture(scope="module")
def artifact(model):
    return edgesparse.compile(model, output=model.with_suffix(".esp")).artifact


def test_model_and_artifact_are_told_from_each_other(model, artifact):
    assert kind_of(model) is ONNX and kind_of(artifact) is ARTIFACT
    with pytest.raises(
        FrontendError, match="is an edgesparse artifact, expected an ONNX model; remedy: pass the model"
    ):
        edgesparse.explain(artifact)
    for use in (edgesparse.run, edgesparse.bench, lambda path: edgesparse.verify(path, model)):
        with pytest.raises(
            MeasureError, match="is an ONNX model, expected an edgesparse artifact; remedy: compile a mod"
        ):
            use(model)


def test_what_is_no_ordinary_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")

    for path, message in ((tmp_path / "pipe.onnx", "no ordinary file"), (tmp_path, "Is a directory")):
        with pytest.raises(FrontendError, match=f"cannot be read: .*{message}"):
            edgesparse.inspect(path)


def test_arrays_of_objects_and_damaged_ones_are_one_line(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez_compressed(tmp_path / "good.npz", x=np.arange(500.0))
    good = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(good[: len(good) // 2])
    (tmp_path / "flipped.npz").write_bytes(good[:80] + bytes([good[80] ^ 64]) + good[81:])

    for name in ("objects.npy", "cut.npz", "flipped.npz"):
        with pytest.raises(PackageError, match=f"{name}: .*; expected an .npz file|{name}: is a damaged zip"):
            arrays(tmp_path / name, PackageError, "an .npz file")


def linked(tmp_path, model):
    """Other paths of one file."""
    copy = tmp_path / "model.onnx"
    copy.write_bytes(model.read_bytes())
    (tmp_path / "symlink.onnx").symlink_to(copy)
    os.link(copy, tmp_path / "hardlink.onnx")
    return copy, [copy, tmp_path / "symlink.onnx", tmp_path / "hardlink.onnx", tmp_path / "." / "model.onnx"]


def test_prune_never_writes_over_its_model(tmp_path, model):
    source, paths = linked(tmp_path, model)

    for path in paths:
        with pytest.raises(PackageError, match="which this command reads; name another file to write"):
            edgesparse.prune(source, path, sparsity=0.5)

    assert source.read_bytes() == model.read_bytes()


def test_commands_never_write_over_another_kind_of_file(tmp_path, model, artifact):
    kept = {}
    for name, content in {"a.onnx": model.read_bytes(), "a.esp": artifact.read_bytes(), "a.txt": b"mine"}.items():
        (tmp_path / name).write_bytes(content)
        kept[tmp_path / name] = content
    tries = [
        (
            lambda path: edgesparse.compile(model, output=path),
            ("a.onnx", "a.txt"),
            "would become an edgesparse artifact",
        ),
        (lambda path: edgesparse.prune(model, path, sparsity=0.5), ("a.esp", "a.txt"), "would become an ONNX model"),
        (lambda path: edgesparse.explain(model, html=path), ("a.esp", "a.onnx", "a.txt"), "would become an HTML page"),
        (lambda path: edgesparse.bench(artifact, html=path), ("a.esp", "a.txt"), "would become an HTML page"),
        (lambda path: edgesparse.tune(output=path), ("a.onnx", "a.txt"), "would become a cost table"),
    ]

    for write, names, message in tries:
        for name in names:
            with pytest.raises(PackageError, match=message):
                write(tmp_path / name)

    assert {path: path.read_bytes() for path in kept} == kept


def test_commands_never_write_over_a_device_or_a_pipe(tmp_path, model):
    """The system replaces even those, where the user may write beside them."""
    os.mkfifo(tmp_path / "pipe")

    for write in (
        lambda: edgesparse.compile(model, "rpi4", tmp_path / "pipe"),
        lambda: edgesparse.prune(model, tmp_path / "pipe", sparsity=0.5),
    ):
        with pytest.raises(PackageError, match="pipe: is a device, a pipe or the like, expected the name of a file"):
            write()

    assert (tmp_path / "pipe").is_fifo()


def test_a_name_that_no_file_can_have_is_one_line(tmp_path, model):
    with pytest.raises(PackageError, match="cannot be written: File name too long"):
        edgesparse.compile(model, "rpi4", tmp_path / ("a" * 300 + ".esp"))


def test_a_file_of_the_same_kind_is_replaced(tmp_path, model, artifact):
    path = tmp_path / "pruned.onnx"
    for sparsity in (0.5, 0.75):
        edgesparse.prune(model, path, sparsity=sparsity)
    page = tmp_path / "page.html"
    for _ in range(2):
        edgesparse.explain(model, html=page)

    assert onnx.load(path).graph.node and page.read_text().startswith("<!doctype html>")


def test_run_never_writes_over_its_inputs(tmp_path, command, artifact):
    np.savez(tmp_path / "x.npz", image=np.zeros((1, 3, 8, 8), np.float32))
    before = (tmp_path / "x.npz").read_bytes()

    done = command("run", artifact, "--input", "x.npz", "--output", "./x.npz")

    assert done.returncode == 1 and "x.npz, which this command reads; name another file to write" in done.error
    assert (tmp_path / "x.npz").read_bytes() == before


def test_errors_stay_one_line_whatever_names_are_in_them():
    assert str(EdgesparseError("input 'a\nb': wrong")) == "input 'a b': wrong"
