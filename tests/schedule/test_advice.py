"""What `explain` says that bytes and blocks would bring is what they then take."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgesparse
from edgesparse import frontend, schedule
from edgesparse.backends.cpu import supports
from edgesparse.devices import targets
from edgesparse.frontend.view import view
from edgesparse.prune import prune
from tests.e2e.test_integers import Net
from tests.schedule.test_choose import convolution

SIZE, CHANNELS = 14, 64


def quantized(density: float) -> onnx.ModelProto:
    """A convolution of bytes with zeros anywhere."""
    net = Net("uint8")
    x = net.around("x", 0.02)
    y = net.around(net.conv(x, 0.02, CHANNELS, CHANNELS, 3, 3, density=density, pads=[1] * 4), 0.05)
    return net.model((1, CHANNELS, SIZE, SIZE), y, (1, CHANNELS, SIZE, SIZE))


def explained(model: onnx.ModelProto | ir.Model, target: str) -> tuple[float, schedule.Advice | None]:
    """Predicted microseconds, and what would be faster."""
    machine = targets.load(target)
    source = model if isinstance(model, ir.Model) else ir.from_proto(model)
    found = schedule.plan(view(frontend.load(source, None, supports=supports), machine.cpu), machine)
    return sum(layer.predicted_us for layer in found.layers.values()), schedule.advice(found, machine)


@pytest.mark.parametrize("target", ["rpi5", "x86-64-v3-vnni"])
def test_blocks_take_what_was_said(target):
    """The judge: the same share of zeros, in blocks that pruning has made."""
    before, told = explained(quantized(0.2), target)
    dense = ir.from_proto(quantized(1.0))
    name = next(node.name for node in dense.graph if node.op_type == "Conv")
    after, again = explained(prune(dense, {name: 0.2}, pattern="1x4").model, target)

    assert told.change == "as 1x4 blocks" and told.us < 0.7 * before
    assert told.us == pytest.approx(after, rel=0.05) and again is None


@pytest.mark.parametrize(("density", "change"), [(1.0, "as int8"), (0.2, "as int8 with 1x4 blocks")])
def test_bytes_take_what_was_said(density, change):
    before, told = explained(convolution(CHANNELS, CHANNELS, SIZE, density, window=3), "rpi5")
    _, of_bytes = explained(quantized(density), "rpi5")

    expected = explained(quantized(density), "rpi5")[0] if of_bytes is None else of_bytes.us
    assert told.change == change and told.us < 0.7 * before
    assert told.us == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("target", ["rpi4", "x86-64-v3"])
def test_nothing_is_said_where_there_are_no_dot_products(target):
    assert explained(convolution(CHANNELS, CHANNELS, SIZE, 0.2), target)[1] is None


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_nothing_is_said_of_bytes_that_blocks_do_not_help(density):
    assert explained(quantized(density), "rpi5")[1] is None


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_weights_of_any_value_are_told_of(value):
    model = convolution(8, 3, 9, 1.0)
    weight = model.graph.initializers["w"]
    weight.const_value = ir.tensor(np.full_like(weight.const_value.numpy(), value), name="w")

    assert explained(model, "rpi5")[0] > 0


def test_explain_tells_it_in_a_line(tmp_path):
    onnx.save(quantized(0.2), tmp_path / "m.onnx")

    text = str(edgesparse.explain(tmp_path / "m.onnx", "rpi5"))

    assert "as 1x4 blocks: weighted layers about " in text
