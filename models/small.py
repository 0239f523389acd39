"""Small architectures of known kinds, built without torch: seeded random weights, BatchNorm already folded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SEED = 0
OPSET = 20
CLASSES = 100


class _Builder:
    """A chain of image operators; every method takes and returns the name of a value."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(SEED)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def _add(self, op: str, inputs: list[str], **attributes: object) -> str:
        name = f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name + "_y"], name=name, **attributes))
        return name + "_y"

    def _random(self, *shape: int, scale: float) -> str:
        name = f"weight_{len(self._weights)}"
        array = (self._rng.standard_normal(shape) * scale).astype(np.float32)
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, x: str, channels: tuple[int, int], window: int, stride: int = 1, groups: int = 1) -> str:
        """Convolution with bias; `channels` in and out, He initialisation, padded to keep the size."""
        inner, outer = channels[0] // groups, channels[1]
        weight = self._random(outer, inner, window, window, scale=float(np.sqrt(2 / (inner * window * window))))
        pad = window // 2
        bias = self._random(outer, scale=0.1)
        return self._add("Conv", [x, weight, bias], strides=[stride] * 2, pads=[pad] * 4, group=groups)

    def relu(self, x: str) -> str:
        """max(x, 0)."""
        return self._add("Relu", [x])

    def add(self, x: str, y: str) -> str:
        """x + y."""
        return self._add("Add", [x, y])

    def classify(self, x: str, channels: int) -> str:
        """Global pool and one linear layer."""
        pooled = self._add("Flatten", [self._add("GlobalAveragePool", [x])])
        weight = self._random(channels, CLASSES, scale=float(np.sqrt(1 / channels)))
        return self._add("Gemm", [pooled, weight, self._random(CLASSES, scale=0.1)])

    def model(self, name: str, size: int, output: str) -> onnx.ModelProto:
        """The graph from `image` [1, 3, size, size] to `output` [1, CLASSES]."""
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])
        scores = helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, CLASSES])
        graph = helper.make_graph(self._nodes, name, [image], [scores], self._weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def mobilenet() -> onnx.ModelProto:
    """Thirteen depthwise-separable blocks as in MobileNetV1, half as wide, for 128x128 images."""
    build = _Builder()
    x = build.relu(build.conv("image", (3, 16), 3, stride=2))
    channels = 16
    for outer, stride in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), *[(256, 1)] * 5, (512, 2), (512, 1)):
        x = build.relu(build.conv(x, (channels, channels), 3, stride, groups=channels))
        x = build.relu(build.conv(x, (channels, outer), 1))
        channels = outer
    return build.model("small_mobilenet", 128, build.classify(x, channels))


def resnet() -> onnx.ModelProto:
    """Eight bottleneck blocks as in ResNet-50, half as wide, for 128x128 images."""
    build = _Builder()
    x = build.relu(build.conv(build.relu(build.conv("image", (3, 32), 3, stride=2)), (32, 32), 3, stride=2))
    channels = 32
    for inner, stride in ((32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        y = build.relu(build.conv(x, (channels, inner), 1))
        y = build.relu(build.conv(y, (inner, inner), 3, stride))
        y = build.conv(y, (inner, 4 * inner), 1)
        skip = x if channels == 4 * inner and stride == 1 else build.conv(x, (channels, 4 * inner), 1, stride)
        x, channels = build.relu(build.add(y, skip)), 4 * inner
    return build.model("small_resnet", 128, build.classify(x, channels))


SMALL: dict[str, Callable[[], onnx.ModelProto]] = {"small_mobilenet": mobilenet, "small_resnet": resnet}


def build(name: str, path: Path) -> Path:
    """Write the model `name`.

    Raises: KeyError: `name` is not in SMALL.
    """
    model = SMALL[name]()
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path
