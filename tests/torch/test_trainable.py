"""ONNX networks as modules that train; ONNX Runtime is the judge of what they compute."""

from __future__ import annotations

import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")

from edgesparse import frontend  # noqa: E402
from edgesparse.torch import Masks  # noqa: E402
from models import trainable  # noqa: E402
from tests.models import assert_close, ort_run, real_model  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")

RESIDUAL = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[1, 3, 8, 8] image) => (float[1, 4] scores)
<int64[2] begins = {0, 0}, int64[2] ends = {8, 8}, int64[2] axes = {2, 3}, int64[2] steps = {2, 2},
 int64[8] widths = {0, 1, 0, 0, 0, 1, 0, 0}, int64[5] order = {4, 1, 2, 3, 0}>
{
    c1 = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
    r1 = Relu (c1)
    c2 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (r1, w2, b2)
    half = Slice (image, begins, ends, axes, steps)
    wide = Pad (half, widths)
    mixed = Gather <axis = 1> (wide, order)
    sum = Add (c2, mixed)
    r2 = Relu (sum)
    c3 = Conv <group = 5> (r2, w3)
    pooled = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (c3)
    both = Concat <axis = 1> (pooled, pooled)
    mean = GlobalAveragePool (both)
    flat = Flatten (mean)
    scores = Gemm <transB = 1> (flat, w4, b4)
}
"""
SHAPES = {"w1": (6, 3, 3, 3), "b1": (6,), "w2": (5, 6, 3, 3), "b2": (5,), "w3": (5, 1, 1, 1), "w4": (4, 10), "b4": (4,)}


def network():
    """A small network with every operator that is known, its weights random."""
    model = onnx.parser.parse_model(RESIDUAL)
    torch.manual_seed(0)
    tensors = [onnx.numpy_helper.from_array(torch.randn(shape).numpy() / 2, name) for name, shape in SHAPES.items()]
    model.graph.initializer.extend(tensors)
    return frontend.load(model)


def images(count=1):
    return torch.randn((count, 3, 8, 8), generator=torch.Generator().manual_seed(1))


def same(module, model, x=None):
    """The module, in eval mode, computes what ONNX Runtime does with the model; one image at a time."""
    x = images(3) if x is None else x
    scores = module.eval()(x).detach().numpy()
    name = model.graph.inputs[0].name
    for image, found in zip(x, scores, strict=True):
        assert_close(found[None], ort_run(model, {name: image[None].numpy()})[0], rtol=1e-4, atol=1e-5)


def test_the_module_computes_what_the_model_does():
    model = network()

    same(trainable.to_module(model), model)


def test_the_trained_resnet_becomes_a_module():
    model = frontend.load(real_model("cifar10_resnet20"))

    same(trainable.to_module(model), model, torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0)))


def test_statistics_of_images_change_nothing_in_eval_mode_and_standardise_in_training():
    model = network()
    module = trainable.to_module(model)

    trainable.standardise(module, images(64))

    same(module, model)
    x = images(64)
    torch.testing.assert_close(module.train()(x), module.eval()(x), rtol=1e-3, atol=1e-3)
    inside = module.conv0(x)
    torch.testing.assert_close(module.norm0.running_mean, inside.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_what_was_trained_is_written_back_with_batch_norm_folded():
    model = network()
    module = trainable.to_module(model)
    trainable.standardise(module, images(16))
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    module.train()(images(16)).square().mean().backward()
    optimizer.step()

    written = trainable.to_onnx(module, model)

    assert "BatchNormalization" not in {node.op_type for node in written.graph}
    same(module, written)
    before, after = (ort_run(each, {"image": images().numpy()})[0] for each in (model, written))
    assert abs(before - after).max() > 1e-3


def test_what_was_written_back_trains_and_is_written_back_again():
    model = network()
    written = trainable.to_onnx(trainable.to_module(model), model)
    module = trainable.to_module(written)
    with torch.no_grad():
        module.conv1.weight.mul_(2)

    same(module, trainable.to_onnx(module, written))


def test_zeros_survive_being_written_back():
    model = network()
    module = trainable.to_module(model)
    masks = Masks(module)
    masks.prune(0.3)

    written = trainable.to_onnx(module, model)

    (conv,) = (node for node in written.graph if node.op_type == "Conv" and tuple(node.inputs[1].shape) == (5, 6, 3, 3))
    stored = conv.inputs[1].const_value.numpy()
    assert (stored == 0).tolist() == (~masks["conv1.weight"]).tolist()


def test_reinitialised_weights_are_others_of_he_scale():
    module = trainable.to_module(network())
    before = module.conv0.weight.clone()

    torch.manual_seed(0)
    trainable.reinitialise(module)

    assert not torch.equal(module.conv0.weight, before)
    assert float(module.conv0.weight.detach().std()) == pytest.approx((2 / (6 * 9)) ** 0.5, rel=0.2)
    assert torch.equal(module.norm0.weight, torch.ones(6)) and torch.equal(module.norm0.bias, torch.zeros(6))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y = Sin (x)", "Sin is not known; expected one of Add"),
        ("y = Conv <pads = [0, 1, 1, 1]> (x, w)", "pads that are not the same on both sides"),
        ("y = Conv (x, x)", "input 1 of Conv is missing or not a constant"),
        ("r = Relu (x) y = Add (r, w)", "a constant is added to another layer than MatMul"),
        ("y = Reshape (x, shape)", "Reshape to another shape than .batch, features."),
        ("y = MatMul (x, x)", "input 1 of MatMul is missing or not a constant"),
        ("r = Relu (w) y = Add (x, r)", "a constant is added"),
    ],
)
def test_what_is_not_known_is_refused(body, message):
    text = f"""<ir_version: 9, opset_import: ["" : 17]> net (float[1, 1, 2, 2] x) => (float[N, C, H, W] y)
        <float[1, 1, 2, 2] w = {{1.0, 2.0, 3.0, 4.0}}, int64[4] shape = {{1, 2, 2, 1}}> {{ {body} }}"""

    with pytest.raises(ValueError, match=message):
        trainable.to_module(frontend.load(onnx.parser.parse_model(text)))
