"""Small models for the command line's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

CLASSIFIER = """
<ir_version: 9, opset_import: ["" : 20]>
classifier (float[N, 3, 8, 8] image) => (float[N, 5] scores) {
    [stem] a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, stem_weight)
    [stem_relu] b = Relu (a)
    [body] c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b, body_weight)
    [body_relu] d = Relu (c)
    [pool] e = GlobalAveragePool (d)
    [flat] f = Flatten (e)
    [head] scores = Gemm (f, head_weight)
}
"""
SHAPES = {"stem_weight": (16, 3, 3, 3), "body_weight": (32, 16, 3, 3), "head_weight": (32, 5)}


def classifier(path: Path) -> Path:
    """Write a convolutional classifier with seeded random weights and a dynamic batch."""
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(CLASSIFIER)
    for name, shape in SHAPES.items():
        weight = rng.normal(0.0, 0.2, shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    onnx.save(model, path)
    return path


def untranslatable(path: Path) -> Path:
    """Write a model with operators that nothing can compile."""
    text = """
    <ir_version: 9, opset_import: ["" : 20, "acme" : 1]>
    odd (float[2, 3] x) => (float[2, 3] y) {
        [first] a = acme.Wobble (x)
        [second] b = acme.Wobble (a)
        [third] y = acme.Wiggle (b)
    }
    """
    onnx.save(onnx.parser.parse_model(text), path)
    return path
