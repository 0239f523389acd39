"""Reading: what is no model, or reaches outside its folder, is one clear line."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest

from edgesparse.errors import FrontendError
from edgesparse.frontend import load, read
from tests.frontend.graphs import floats, model
from tests.models import ROOT

REMEDY = "pip install 'edgesparse[torch]'"
RELU = "g (float[1, 4] x) => (float[1, 4] y) { y = Relu (x) }"


def _proto(opset=20):
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]>\n{RELU}')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\x00\xff not a model", "not an ONNX model, or cut short; expected an .onnx"),
        (b"sparsity: 0.9\nskip: [head]\n", "not an ONNX model, but text; expected an .onnx or .pt2 file"),
        (b'{"layers": [1, 2]}', "not an ONNX model, but text; expected"),
        ("Netz".encode("utf-16"), "not an ONNX model, but text; expected"),
        (_proto().SerializeToString()[:-20], "not an ONNX model|invalid ONNX"),
        (onnx.ModelProto(ir_version=9).SerializeToString(), "no graph with outputs"),
        (_proto(99).SerializeToString(), "opset 99 is not supported; expected 1 to"),
        (_proto().SerializeToString().replace(b"Relu", b"Rulu"), "invalid ONNX: No Op registered for Rulu"),
    ],
    ids=["empty", "noise", "YAML", "JSON", "UTF-16", "truncated", "no graph", "future opset", "unknown operator"],
)
def test_bad_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)

    with pytest.raises(FrontendError, match=message) as caught:
        read(path)

    assert "\n" not in str(caught.value) and "bad.onnx" in str(caught.value)


def test_missing_file_says_so(tmp_path):
    with pytest.raises(FrontendError, match="No such file"):
        read(tmp_path / "absent.onnx")


def test_external_data_beside_the_file_is_read(tmp_path):
    proto = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 20]> g (float[1, 8] x) => (float[1, 8] y) { y = MatMul (x, w) }'
    )
    weight = floats(8, 8)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)

    normal = load(tmp_path / "m.onnx")

    np.testing.assert_array_equal(normal.graph.initializers["w"].const_value.numpy(), weight)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname"])
def test_external_data_elsewhere_is_refused(tmp_path, location):
    (tmp_path / "secret.bin").write_bytes(bytes(256))
    folder = tmp_path / "model"
    folder.mkdir()
    proto = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 20]> g (float[1, 8] x) => (float[1, 8] y) { y = MatMul (x, w) }'
    )
    tensor = proto.graph.initializer.add(name="w", dims=[8, 8], data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "m.onnx").write_bytes(proto.SerializeToString())

    with pytest.raises(FrontendError, match="external data cannot be loaded"):
        read(folder / "m.onnx")


@pytest.mark.parametrize("entry", [{"location": "x" * 5000}, {"location": "w.bin", "offset": "abc"}])
def test_a_place_of_external_data_that_is_none_is_one_short_line(tmp_path, entry):
    proto = _proto()
    tensor = proto.graph.initializer.add(name="w", dims=[4], data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in entry.items():
        tensor.external_data.add(key=key, value=value)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())

    with pytest.raises(FrontendError, match="external data cannot be loaded") as caught:
        read(tmp_path / "m.onnx")

    assert len(str(caught.value)) < 1000


def test_initializers_listed_as_inputs_leave_the_signature():
    source = model("g (float[1, 4] x, float[4] b) => (float[1, 4] y) { y = Add (x, b) }", b=floats(4))

    normal = load(source)

    assert [value.name for value in normal.graph.inputs] == ["x"]


@pytest.mark.parametrize("source", ["net.pt2", "some_package:factory"])
def test_pytorch_model_without_pytorch_says_what_to_install(source):
    words = f"import sys; sys.modules['torch'] = None; from edgesparse.frontend import read; read({source!r})"

    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, cwd=ROOT, check=False)

    last = done.stderr.splitlines()[-1]
    assert last.endswith(f"FrontendError: {source}: needs PyTorch, which is not installed; remedy: {REMEDY}")
