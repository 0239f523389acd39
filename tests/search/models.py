"""A model with layers of different sizes, and the setting of a search over it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from edgesparse.devices import targets
from edgesparse.frontend import load
from edgesparse.prune import prune, prune_alone
from edgesparse.search import Setting, State, searchable

NETWORK = """
<ir_version: 9, opset_import: ["" : 20]>
network (float[N, 3, 12, 12] image) => (float[N, 8] scores) {
    [stem] a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, stem_weight)
    [stem_relu] b = Relu (a)
    [wide] c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b, wide_weight)
    [wide_relu] d = Relu (c)
    [narrow] e = Conv (d, narrow_weight)
    [narrow_relu] f = Relu (e)
    [depthwise] g = Conv <kernel_shape = [3, 3], group = 24> (f, depthwise_weight)
    [pool] h = GlobalAveragePool (g)
    [flat] i = Flatten (h)
    [head] scores = Gemm (i, head_weight)
}
"""
SHAPES = {
    "stem_weight": (16, 3, 3, 3),
    "wide_weight": (48, 16, 3, 3),
    "narrow_weight": (24, 48, 1, 1),
    "depthwise_weight": (24, 1, 3, 3),
    "head_weight": (24, 8),
}
LAYERS = {"wide": "wide_weight", "narrow": "narrow_weight", "head": "head_weight"}
SAMPLES = [{"image": np.random.default_rng(1).standard_normal((4, 3, 12, 12)).astype(np.float32)}]


def network() -> ir.Model:
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(NETWORK)
    for name, shape in SHAPES.items():
        weight = rng.normal(0.0, 0.2, shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    return ir.from_proto(model)


def setting(folder, pattern: str = "1x1", **changes: Any) -> Setting:
    model = network()
    layers, levels = searchable(model, pattern, ())
    options = {
        "model": model,
        "layers": layers,
        "prune": lambda densities: prune(model, densities, pattern=pattern).model,
        "prune_alone": lambda: prune_alone(model, levels, layers.values(), pattern=pattern),
        "pattern": pattern,
        "levels": levels,
        "samples": SAMPLES,
        "normalise": load,
        "target": targets.load("rpi4"),
        "threads": 1,
        "trials": 6,
        "state": State(folder / "state", {}, resume=False),
        "progress": lambda stage: None,
    }
    return Setting(**(options | changes))
