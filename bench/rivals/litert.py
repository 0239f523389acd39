"""LiteRT (TensorFlow Lite) with XNNPACK; `onnx2tf` makes its file from the ONNX file, which takes minutes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = ("ai-edge-litert", "onnx2tf")
LIMIT_S = 900


def load(model: str, threads: int, inputs: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Convert and open an ONNX file."""
    from ai_edge_litert.interpreter import Interpreter

    converted = Path(model).with_suffix(".tflite")
    if not converted.exists():
        command = [sys.executable, "-I", __file__, model, str(converted)]
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run(command, check=True, stdout=sys.stderr, timeout=LIMIT_S, env=environment)
    interpreter = Interpreter(str(converted), num_threads=threads)
    interpreter.allocate_tensors()
    feeds = [(each["index"], _laid_out(_named(inputs, each["name"]), each)) for each in interpreter.get_input_details()]
    outputs = [(each["name"], each["index"]) for each in interpreter.get_output_details()]

    def run() -> dict[str, Any]:
        for index, array in feeds:
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in outputs}

    return run


def _named(arrays: dict[str, Any], name: str) -> Any:
    return next(array for key, array in arrays.items() if key in name)


def _laid_out(array: Any, detail: Any) -> Any:
    """In the layout and type of the converted model: channels last."""
    channels_first = tuple(detail["shape"]) != array.shape
    return (array.transpose(0, 2, 3, 1) if channels_first else array).astype(detail["dtype"], order="C")


def convert(model: str, converted: str) -> None:
    """Write the model in LiteRT's form; the sample images that onnx2tf would download are not needed."""
    import numpy as np
    import onnx2tf.onnx2tf as tool

    tool.download_test_image_data = lambda: np.zeros((20, 128, 128, 3), np.float32)
    folder = Path(converted).with_suffix(".litert")
    tool.convert(
        input_onnx_file_path=model,
        output_folder_path=str(folder),
        copy_onnx_input_output_names_to_tflite=True,
        replace_to_pseudo_operators=["erf"],  # a polynomial: there is no Erf in LiteRT itself
        non_verbose=True,
    )
    shutil.move(next(folder.glob("*_float32.tflite")), converted)
    shutil.rmtree(folder)


if __name__ == "__main__":
    convert(*sys.argv[1:])
