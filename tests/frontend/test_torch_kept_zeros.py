"""Zeros that PyTorch keeps beside the weights, as masks or compressed, arrive as zeros of the weights."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")
from torch import nn  # noqa: E402
from torch.ao.pruning.sparsifier.utils import FakeSparsity  # noqa: E402
from torch.nn.utils import parametrizations, parametrize, prune  # noqa: E402

from edgesparse.errors import FrontendError  # noqa: E402
from edgesparse.frontend import read  # noqa: E402
from edgesparse.torch import load_masked  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")
X = torch.linspace(-1, 1, 12).reshape(2, 6)
MASK = torch.tensor([[1, 0, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 0]])


class KeepsMask(nn.Module):
    """A parametrization that saves its mask, as that of torch.ao.pruning does not."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", MASK.float())

    def forward(self, weight):
        return weight * self.mask


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


class Masked(nn.Linear):
    """Multiplies with its mask itself."""

    def __init__(self):
        super().__init__(6, 4)
        self.register_buffer("weight_mask", MASK.float())

    def forward(self, x):
        return nn.functional.linear(x, self.weight * self.weight_mask, self.bias)


def pruned_in_training():
    module = net()
    prune.custom_from_mask(module[0], "weight", MASK)
    module(X).sum().backward()  # leaves a weight that is computed, and cannot be copied
    return module


def pruned_twice():
    module = net()
    prune.custom_from_mask(module[0], "weight", torch.ones(4, 6))
    prune.custom_from_mask(module[0], "weight", MASK)
    return module


def parametrized(kind):
    module = net()
    parametrize.register_parametrization(module[0], "weight", kind)
    return module


def with_buffer(name, dtype):
    module = net()
    module[0].register_buffer(name, MASK.to(dtype))
    return module


def multiplying():
    module = net()
    layer = Masked()
    layer.load_state_dict(module[0].state_dict() | {"weight_mask": MASK.float()})
    module[0] = layer
    return module


MODULES = {
    "prune": pruned_in_training,
    "prune twice": pruned_twice,
    "parametrization": lambda: parametrized(KeepsMask()),
    "torch.ao.pruning": lambda: parametrized(FakeSparsity(MASK.float())),
    "buffer mask": lambda: with_buffer("mask", torch.bool),
    "buffer weight_mask": lambda: with_buffer("weight_mask", torch.uint8),
    "forward": multiplying,
}


def stored(model, name="0.weight"):
    """The initializer `name` as the module has it, [out, in]; found transposed too."""
    value = model.graph.initializers[name].const_value.numpy()
    return value if value.shape == (4, 6) else value.T


@pytest.mark.parametrize("build", MODULES.values(), ids=MODULES.keys())
def test_masked_weight_arrives_with_zeros_and_its_name(build):
    module = build()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    model = read(module, X)

    expected = net()[0].weight.detach().numpy() * MASK.numpy()
    np.testing.assert_array_equal(stored(model), expected)
    assert "2.weight" in model.graph.initializers and len(model.graph.initializers) == 4
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


def test_masked_module_may_come_exported():
    program = torch.export.export(pruned_twice(), (X,))

    np.testing.assert_array_equal(stored(read(program)), net()[0].weight.detach().numpy() * MASK.numpy())


def test_parametrization_that_is_no_mask_is_computed():
    module = net()
    parametrizations.weight_norm(module[0])
    with torch.no_grad():
        module[0].parametrizations.weight.original0.mul_(3)

    np.testing.assert_allclose(stored(read(module, X)), 3 * net()[0].weight.detach().numpy(), rtol=1e-6)


def test_buffer_that_is_no_mask_changes_nothing():
    module = net()
    module[0].register_buffer("mask", torch.full((4, 6), 0.5))

    np.testing.assert_array_equal(stored(read(module, X)), net()[0].weight.detach().numpy())


def compressed(values=(3.0, -1.0, 2.0)):
    """Weights [2, 10]: 3 at (0, 1), -1 at (0, 9), 2 at (1, 4); a byte holds eight of a row, the lowest bit first."""
    bits = torch.tensor([[0b00000010, 0b00000010], [0b00010000, 0]], dtype=torch.uint8)
    return {
        "weight.bitmask": bits,
        "weight.compressed": torch.tensor(values),
        "weight.shape": torch.tensor([2, 10]),
        "weight.row_offsets": torch.tensor([[0], [2]]),
    }


def test_compressed_weight_is_unpacked():
    layer = nn.Linear(10, 2, bias=False)
    expected = np.zeros((2, 10), np.float32)
    expected[0, 1], expected[0, 9], expected[1, 4] = 3, -1, 2

    load_masked(layer, compressed())

    np.testing.assert_array_equal(layer.weight.detach().numpy(), expected)


STATES = {
    "prune": lambda: pruned_twice().state_dict(),
    "parametrization": lambda: parametrized(KeepsMask()).state_dict(),
    "buffer mask": lambda: with_buffer("mask", torch.float32).state_dict(),
    "buffer weight_mask": lambda: with_buffer("weight_mask", torch.bool).state_dict(),
    "in a checkpoint with a recipe": lambda: {"state_dict": pruned_twice().state_dict(), "recipe": "modifiers: []"},
    "of several devices": lambda: {f"module.{name}": value for name, value in pruned_twice().state_dict().items()},
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
def test_state_with_masks_loads_into_a_plain_module(state):
    module = net()
    torch.nn.init.zeros_(module[0].weight)

    load_masked(module, state())

    expected = net()
    expected[0].weight.data.mul_(MASK)
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in expected.state_dict().items())


def test_masks_of_the_module_itself_are_loaded_as_such():
    module = nn.Sequential(Masked())
    state = module.state_dict() | {"0.weight_mask": 1 - MASK.float()}

    load_masked(module, state)

    assert torch.equal(module[0].weight_mask, 1 - MASK.float())
    assert torch.equal(module[0].weight, state["0.weight"])


ORIGINAL = {"weight_orig": torch.ones(2, 10)}
WRONG = {
    "other numbers": (
        ORIGINAL | {"weight_mask": torch.full((2, 10), 0.5)},
        "mask of 'weight' has other numbers, exp",
    ),
    "other shape": (
        ORIGINAL | {"weight_mask": torch.ones(10)},
        r"mask of 'weight' has shape \[10\], expected 0 and",
    ),
    "no weight": ({"parametrizations.weight.0.mask": torch.ones(2, 10)}, "a mask for 'weight', but no such weight"),
    "values missing": ({"weight.bitmask": compressed()["weight.bitmask"]}, "expected .compressed and .shape beside it"),
    "too few values": (compressed((1.0, 2.0)), r"of 'weight' keeps 3 of 20 weights, expected 2 of shape \[2, 10\]"),
    "other names": ({"head.weight": torch.ones(2, 10)}, 'Missing key.* "weight". Unexpected key.* "head.weight"'),
}


@pytest.mark.parametrize(("state", "message"), WRONG.values(), ids=WRONG.keys())
def test_state_that_does_not_fit_is_one_line(state, message):
    with pytest.raises(FrontendError, match=f"^state dict: .*{message}") as caught:
        load_masked(nn.Linear(10, 2, bias=False), state)

    assert "\n" not in str(caught.value)
