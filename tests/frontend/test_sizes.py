"""Sizes that a node asks for, where onnx infers other shapes than ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgesparse import frontend, reference
from tests.frontend.sweep import Sweep

IMAGE = (1, 4, 7, 5)


@pytest.mark.parametrize("opset", [11, 13, 19, 22])
def test_transposed_convolutions_have_the_size_they_are_told(opset: int) -> None:
    rng = np.random.default_rng(opset)
    sweep = Sweep({"x": IMAGE})
    for number in range(60):
        kernel, strides, dilations = (rng.integers(1, most, 2).tolist() for most in (4, 4, 3))
        sides = zip(IMAGE[2:], strides, strict=True)
        size = [int(rng.choice([1, 2, side // 2, side, side * stride])) for side, stride in sides]
        group = int(rng.integers(1, 3))
        said = f"strides = {strides}, dilations = {dilations}, group = {group}"
        if number % 4:
            said += f", output_shape = {size if number % 8 else [1, 3 * group, *size]}"
        if number % 4 == 0 or number % 3:
            said += f', auto_pad = "{rng.choice(["SAME_UPPER", "SAME_LOWER"])}"'
        sweep.add(f"ConvTranspose <{said}> (x, {sweep.constant(4, 3, *kernel)})")

    sweep.check(opset)


@pytest.mark.parametrize("opset", [10, 11, 13, 19])
def test_scaled_sizes_are_products_in_single_precision(opset: int) -> None:
    sizes, scales = (5, 10, 15, 20, 9), (2.6, 0.7, 1.1, 0.6, 0.3, 1.4)
    pairs = [(size, scale) for size in sizes for scale in scales]
    roi = "" if opset == 10 else "none, "
    lines = [f"a{n} = Resize (x{size}, {roi}s{n})" for n, (size, _) in enumerate(pairs)]
    inputs = ", ".join(f"float[1, 1, {size}] x{size}" for size in sizes)
    outputs = ", ".join(f"a{n}" for n in range(len(pairs)))
    text = f'<ir_version: 6, opset_import: ["" : {opset}]> g ({inputs}) => ({outputs}) {{ {" ".join(lines)} }}'
    model = onnx.parser.parse_model(text)
    constants = {f"s{n}": np.array([1, 1, scale], np.float32) for n, (_, scale) in enumerate(pairs)}
    for name, array in (constants | {"none": np.zeros(0, np.float32)}).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))

    found = frontend.normalise(frontend.read(model)).graph.outputs

    right = reference.evaluate(model, {f"x{size}": np.ones((1, 1, size), np.float32) for size in sizes})
    assert {value.name: tuple(value.shape or ()) for value in found} == {name: a.shape for name, a in right.items()}


@pytest.mark.parametrize("opset", [11, 12, 13])
def test_one_element_that_is_gathered_has_no_axes(opset: int) -> None:
    sweep = Sweep({"x": IMAGE})
    sweep.add(f"GatherND (x, {sweep.put(np.array([0, 3, -1, 2]))})", "Neg (_)")
    sweep.add(f"GatherND (x, {sweep.put(np.array([0, 3, 1]))})", "Neg (_)")

    sweep.check(opset)
