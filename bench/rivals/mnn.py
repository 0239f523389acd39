"""MNN in high precision, which is f32; converts the ONNX file to its own form beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = ("MNN",)


def load(model: str, threads: int, inputs: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Convert and open an ONNX file."""
    import _tools
    import MNN
    import numpy as np

    converted = Path(model).with_suffix(".mnn")
    if not converted.exists():
        arguments = ["mnnconvert", "-f", "ONNX", "--modelFile", model, "--MNNModel", str(converted), "--bizCode", "b"]
        _tools.mnnconvert(arguments)  # the command of that name would also install packages and send logs
    interpreter = MNN.Interpreter(str(converted))
    session = interpreter.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
    tensors = interpreter.getSessionInputAll(session)
    outputs = interpreter.getSessionOutputAll(session)
    hosts = {}
    for name in tensors:
        array = np.ascontiguousarray(inputs[name])
        kind = MNN.Halide_Type_Float if array.dtype.kind == "f" else MNN.Halide_Type_Int
        array = array if array.dtype.kind == "f" else array.astype(np.int32)
        hosts[name] = MNN.Tensor(array.shape, kind, array, MNN.Tensor_DimensionType_Caffe)
    results = {}
    for name, tensor in outputs.items():
        shape = tensor.getShape()
        blank = np.zeros(shape, np.float32)
        results[name] = MNN.Tensor(shape, MNN.Halide_Type_Float, blank, MNN.Tensor_DimensionType_Caffe)

    def run() -> dict[str, Any]:
        for name, tensor in tensors.items():
            tensor.copyFrom(hosts[name])
        interpreter.runSession(session)
        for name, tensor in outputs.items():
            tensor.copyToHostTensor(results[name])
        return {name: result.getNumpyData() for name, result in results.items()}

    return run
