"""One-shot pruning of modules: what layers read, how far outputs move, and masks to go on with."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from edgesparse.errors import PruneError  # noqa: E402
from edgesparse.frontend import read  # noqa: E402
from edgesparse.prune import prune  # noqa: E402
from edgesparse.prune.methods import METHODS, Method  # noqa: E402
from edgesparse.torch import oneshot  # noqa: E402
from tests.torch.modules import PRUNABLE, convnet, perceptron, train  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")


def images(count=64, seed=0):
    """Images whose neighbours are alike."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, 3, 8, 8), generator=generator).cumsum(-1)


@pytest.fixture
def seen(monkeypatch):
    """Second moments that a method was asked to prune with, in order; the method changes nothing."""
    moments = []

    monkeypatch.setitem(METHODS, "look", Method(lambda weight, keep, second: moments.append(second) or weight))
    return moments


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": (0, 2), "stride": (2, 1)},
        {"dilation": 2, "groups": 2},
        {"padding": "same", "dilation": (1, 2)},
        {"padding": "valid"},
        {"padding": 1, "padding_mode": "reflect"},
        {"padding": 2, "padding_mode": "replicate"},
        {"padding": (1, 0), "padding_mode": "circular"},
    ],
)
def test_a_convolution_reads_what_torch_unfolds(seen, options):
    conv = nn.Conv2d(4, 6, (3, 2), **options)
    x = torch.randn(5, 4, 9, 7)

    stem = nn.Conv2d(4, 4, 1)

    oneshot(nn.Sequential(stem, conv), [x[:3], x[3:]], 0.5, method="look")

    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    padded = functional.pad(stem(x).detach(), conv._reversed_padding_repeated_twice, mode=mode)
    columns = functional.unfold(padded, conv.kernel_size, conv.dilation, 0, conv.stride)
    rows = columns.movedim(1, -1).reshape(-1, conv.groups, 24 // conv.groups).double()
    expected = torch.einsum("pgk,pgl->gkl", rows, rows) / len(rows)
    np.testing.assert_allclose(seen[0], expected, rtol=1e-4, atol=1e-5)


def test_the_parts_of_an_attention_read_query_key_and_value(seen):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, query, key, value):
            return self.attention(query, key, value=value)[0]

    query, key, value = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8)

    result = oneshot(Attention(), [(query, key, value)], 0.5, method="look")

    for second, x in zip(seen[0], (query, key, value), strict=True):
        flat = x.reshape(-1, 8).double()
        np.testing.assert_allclose(second, flat.T @ flat / len(flat), rtol=1e-4, atol=1e-6)
    assert result.output_errors["attention.out_proj.weight"] is None
    assert result.masks.densities["attention.out_proj.weight"] == 0.5


@pytest.mark.parametrize("pattern", ["1x1", "4x1", "2:4"])
def test_sparsegpt_moves_outputs_less_than_wanda_and_that_less_than_magnitude(pattern):
    torch.manual_seed(0)
    scale = torch.logspace(-1, 1, 16)
    mix = torch.randn(16, 16)
    x, held_back = torch.randn(256, 16) @ mix * scale, torch.randn(64, 16) @ mix * scale

    def network():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 8))

    def error(**options):
        pruned = network()
        result = oneshot(pruned, [x], None if pattern == "2:4" else 0.5, pattern=pattern, **options)
        assert result.masks.density == pytest.approx(0.5, abs=0.01)
        assert result.masks.pattern.check(pruned[0].weight.detach().numpy())
        return float((pruned(held_back) - network()(held_back)).detach().norm())

    assert error(method="sparsegpt") < error(method="wanda") < error(method="magnitude")
    assert error(method="wanda", reconstruct=True) < error(method="wanda")


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_a_module_and_its_export_are_pruned_alike(tmp_path, method):
    module, x = convnet().eval(), images()
    torch.onnx.export(module, (x[:1],), tmp_path / "net.onnx", dynamo=False, opset_version=17, input_names=["x"])
    samples = {"x": x.numpy()[:, None]}

    of_onnx = prune(
        read(tmp_path / "net.onnx"), {"/5/Conv": 0.3, "/8/Gemm": 0.3}, method=method, calibration=samples, match="own"
    )
    oneshot(module, x.split(10), 0.3, method=method, skip=["2"])

    initializers = of_onnx.model.graph.initializers
    np.testing.assert_allclose(module[5].weight.detach(), initializers["5.weight"].const_value.numpy(), atol=1e-4)
    np.testing.assert_allclose(module[8].weight.detach(), initializers["8.weight"].const_value.numpy(), atol=1e-4)


def test_later_layers_see_what_was_pruned_before(seen, monkeypatch):
    torch.manual_seed(0)
    module, x = perceptron(), torch.randn(40, 12)
    module[0].bias.data.fill_(2.0)
    monkeypatch.setitem(METHODS, "empty", Method(lambda weight, keep, second: seen.append(second) or 0 * weight))

    oneshot(module, [x], 0.5, method="empty")

    np.testing.assert_allclose(seen[1], np.full((1, 16, 16), 4.0), rtol=1e-6)


def test_masks_hold_the_zeros_through_training():
    module = convnet()

    masks = oneshot(module, images().split(16), 0.3, method="wanda").masks

    zero = {name: module.get_parameter(name).detach() == 0 for name in PRUNABLE}
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    masks.hold(optimizer)
    train(module, optimizer, 3, (3, 8, 8))
    for name in PRUNABLE:
        np.testing.assert_array_equal(module.get_parameter(name).detach() == 0, zero[name])
        assert float(zero[name].float().mean()) == pytest.approx(0.7, abs=0.01)


def test_output_errors_are_those_of_the_outputs():
    module, x = perceptron(), torch.randn(50, 12)
    before = module[0].weight.detach().double()

    result = oneshot(module, [x], 0.5, method="wanda", skip=["2"])

    change = x.double() @ (module[0].weight.detach().double() - before).T
    expected = float(change.square().sum() / (x.double() @ before.T).square().sum())
    assert result.output_errors == {"0.weight": pytest.approx(expected, rel=1e-4)}


def test_modules_are_called_with_names_and_keep_their_mode():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.drop = nn.Linear(6, 6), nn.Linear(6, 4), nn.Dropout()
            self.second.eval()

        def forward(self, *, x):
            assert not self.training
            return self.second(input=self.drop(self.first(x)))

    module = Named()

    result = oneshot(module, ({"x": torch.randn(4, 6)} for _ in range(3)), 0.5)

    assert None not in result.output_errors.values()
    assert module.training and module.drop.training and not module.second.training


def test_layers_that_share_a_weight_are_judged_by_what_both_read(seen):
    first, second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
    second.weight = first.weight
    x = torch.randn(9, 6)

    oneshot(nn.Sequential(first, second), [x], 0.5, method="look")

    both = torch.cat([x, first(x).detach()]).double()
    (moments,) = seen
    np.testing.assert_allclose(moments[0], both.T @ both / len(both), rtol=1e-4, atol=1e-6)


def test_half_precision_stays_half_precision():
    module = perceptron().bfloat16()

    masks = oneshot(module, [torch.randn(40, 12, dtype=torch.bfloat16)], 0.5).masks

    assert module[0].weight.dtype == torch.bfloat16
    assert masks.density == 0.5


@pytest.mark.parametrize(
    ("batches", "options", "message"),
    [
        ([], {"density": 0.5}, "no batches to prune with"),
        ([torch.full((2, 12), torch.nan)], {"density": 0.5}, "multiplied with 0.weight is infinite, not a number"),
        ([torch.ones(2, 12)], {"density": 0.5, "method": "dice"}, "method 'dice' is unknown"),
        ([torch.ones(2, 12)], {"density": 0.5, "allocation": "fair"}, "allocation 'fair' is unknown"),
        ([torch.ones(2, 12)], {}, "does not say how many weights stay"),
    ],
)
def test_requests_that_make_no_sense_are_refused(batches, options, message):
    with pytest.raises(PruneError, match=message):
        oneshot(perceptron(), batches, **options)
