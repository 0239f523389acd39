"""Tell by its first bytes what a file is, and what to do with it where a model is wanted."""

from __future__ import annotations

import errno
import os
import re
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path

HEAD_BYTES = 512


@dataclass(frozen=True)
class Kind:
    """A kind of file, and how to get a model from it, in words."""

    name: str
    remedy: str


_CONVERT = "convert it to ONNX with tf2onnx"
_MODULE = "pass the module that it belongs to, as package.module:function"
_ORIGINAL = "pass the ONNX or PyTorch model that it was made from"
_NO_MODEL = "pass an .onnx or .pt2 file, or package.module:function"

ARTIFACT = Kind("an edgesparse artifact", "pass the model that it was compiled from")
ONNX = Kind("an ONNX model", "")
PROGRAM = Kind("a program by torch.export.save", "name it .pt2")
ARRAYS = Kind("numpy arrays", "arrays are for --input and --calibration; " + _NO_MODEL)
IMAGE = Kind("an image", "pictures are for run --image; " + _NO_MODEL)
PAGE = Kind("an HTML page", "a download has failed, or " + _NO_MODEL)
COSTS = Kind("a cost table of edgesparse", _NO_MODEL)
TARGET = Kind("a target of edgesparse", "targets are for --target; " + _NO_MODEL)

_TABLE: tuple[tuple[str, Kind], ...] = (
    (r"\x89ESP\r\n", ARTIFACT),
    (r"....TFL3", Kind("a TensorFlow Lite model", _CONVERT + " (--tflite)")),
    (r"....ORTM", Kind("an ORT format model", _ORIGINAL)),
    (r"....ET1\d", Kind("an ExecuTorch program", _ORIGINAL)),
    (r"\x08\x01\x12.*(serve|tf\.|tensorflow)", Kind("a TensorFlow SavedModel", _CONVERT + " (--saved-model)")),
    (r"\x0a.{1,4}\x0a.{1,80}\x12.(Placeholder|Const|NoOp)", Kind("a TensorFlow graph", _CONVERT + " (--graphdef)")),
    (r"\x08[\x01-\x20][\x12\x1a\x22\x28\x32\x3a\x42]", ONNX),
    (r"\x89HDF\r\n", Kind("an HDF5 file, perhaps of Keras", _CONVERT + " (from tf.keras.models.load_model)")),
    (r".{6}\x00\x00\{\s*\x22", Kind("a safetensors file, weights without a network", _MODULE)),
    (r"GGUF", Kind("a GGUF file, weights without a network", _MODULE)),
    (r"\x80[\x02-\x05]", Kind("a pickle, perhaps a PyTorch checkpoint", _MODULE)),
    (r"7767517\r?\n", Kind("an ncnn network", _ORIGINAL)),
    (r"\s*<\?xml|\s*<net", Kind("an XML file, perhaps of OpenVINO", _ORIGINAL)),
    (r"[fp]trt", Kind("a TensorRT engine", _ORIGINAL)),
    (r"\x93NUMPY", ARRAYS),
    (r"\x89PNG\r\n|\xff\xd8\xff|GIF8|BM.{4}\x00{4}|RIFF....WEBP", IMAGE),
    (r"version https://git-lfs", Kind("a pointer of Git LFS, not the file itself", "fetch it: git lfs pull")),
    (r"\s*<(!doctype html|html)", PAGE),
    (r"schema = \d+\ntarget = ", COSTS),
    (r"schema = \d+\n", TARGET),
    (r"\x7fELF", Kind("an ELF file", _NO_MODEL)),
    (r"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|.{257}ustar", Kind("an archive", "unpack it")),
)
_SIGNATURES = tuple((re.compile(p.encode(), re.DOTALL | re.IGNORECASE), kind) for p, kind in _TABLE)

_MEMBERS: tuple[tuple[str, Kind], ...] = (
    (r"[^/]+/models/.+\.json", PROGRAM),
    (r"[^/]+/constants\.pkl", Kind("a TorchScript module", "export the module that it was made from; " + _MODULE)),
    (r"([^/]+/)?data\.pkl", Kind("a PyTorch checkpoint", _MODULE)),
    (r"model\.weights\.h5", Kind("a Keras model", _CONVERT + " (from keras.models.load_model)")),
    (r"Manifest\.json|.*/coremldata\.bin", Kind("a Core ML package", _ORIGINAL)),
    (r".*\.npy", ARRAYS),
)
"""Members of zip archives that tell."""


def kind_of(path: Path) -> Kind | None:
    """What the file at `path` is; None where its first bytes do not tell.

    Raises: OSError: it cannot be read, or is no ordinary file.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):  # opening a pipe waits for its writer
        raise OSError("it is no ordinary file")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    return next((kind for signature, kind in _SIGNATURES if signature.match(head)), None)


def _kind_of_zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return Kind("a damaged zip archive", "copy or download it again")
    for pattern, kind in _MEMBERS:
        if any(re.fullmatch(pattern, name) for name in names):
            return kind
    return Kind("a zip archive", "unpack it")
