"""Dynamic sparse training: one update against numpy, exact counts, and connections that start at zero."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")
from torch import nn  # noqa: E402

from edgesparse.errors import PruneError  # noqa: E402
from edgesparse.torch import SET, Masks, RigL  # noqa: E402
from tests.torch.modules import perceptron, train  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")


def sgd(module):
    return torch.optim.SGD(module.parameters(), 0.1, momentum=0.9, weight_decay=0.01)


def sparse(pattern="1x1"):
    module = perceptron()
    masks = Masks(module, pattern=pattern)
    masks.randomize(0.25, allocation="uniform", seed=5)
    return module, masks


def backward(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    module.zero_grad()
    nn.functional.cross_entropy(module(torch.randn(8, 12, generator=generator)), torch.arange(8) % 4).backward()


def moved(weight, growth, mask, moving, rows=1):
    """Drop the `moving` smallest magnitudes, then grow the largest of `growth`, one by one, over blocks of `rows`."""

    def units(array):
        return np.abs(array).reshape(len(array) // rows, rows, -1).sum(axis=1)

    magnitude, steepness = units(weight), units(growth)
    kept = {tuple(at) for at in np.argwhere(units(mask) > 0)}
    for at in sorted(kept, key=lambda at: magnitude[at])[:moving]:
        kept.remove(at)
    free = [at for at in np.ndindex(magnitude.shape) if at not in kept]
    kept |= set(sorted(free, key=lambda at: -steepness[at])[:moving])
    result = np.zeros(magnitude.shape, bool)
    for at in kept:
        result[at] = True
    return result.repeat(rows, axis=0)


@pytest.mark.parametrize(("pattern", "rows"), [("1x1", 1), ("4x1", 4)])
def test_one_update_of_rigl_drops_and_grows_what_numpy_does(pattern, rows):
    module, masks = sparse(pattern)
    rigl = RigL(sgd(module), masks, every=2, stop=8, fraction=0.8)
    backward(module)
    rigl.step()
    backward(module, seed=1)
    before = {name: (masks.parameter(name).detach().clone(), masks[name].clone()) for name in masks}

    rigl.step()

    for name, (weight, mask) in before.items():
        moving = math.floor(0.8 / 2 * (1 + math.cos(math.pi * 2 / 8)) * int(mask.sum()) / rows)
        gradient = masks.parameter(name).grad
        expected = moved(weight.numpy(), gradient.numpy(), mask.numpy(), moving, rows)
        assert moving > 0 and expected.sum() == mask.sum()
        np.testing.assert_array_equal(masks[name], expected)
        kept = torch.from_numpy(expected) & mask
        np.testing.assert_array_equal(masks.parameter(name).detach(), torch.where(kept, weight, 0.0))
    assert not torch.equal(masks["0.weight"], before["0.weight"][1])


def test_one_update_of_set_drops_what_numpy_does_and_grows_at_random():
    module, masks = sparse()
    updates = SET(sgd(module), masks, every=1, stop=9, fraction=0.5, seed=7)
    weight, mask = module[0].weight.detach().clone(), masks["0.weight"].clone()
    backward(module)

    updates.step()

    drawn = np.random.default_rng(7).random((16, 12))
    expected = moved(weight.numpy(), drawn, mask.numpy(), int(mask.sum()) // 2)
    np.testing.assert_array_equal(masks["0.weight"], expected)
    assert masks["0.weight"].sum() == mask.sum()


def test_new_connections_start_at_zero_without_momentum_and_then_learn():
    module, masks = sparse()
    optimizer = sgd(module)
    rigl = RigL(optimizer, masks, every=3, stop=9)
    old = masks["0.weight"].clone()
    train(module, rigl, 3, (12,))

    new, stayed = masks["0.weight"] & ~old, masks["0.weight"] & old
    momentum = optimizer.state[module[0].weight]["momentum_buffer"].clone()
    before = module[0].weight.detach().clone()
    train(module, rigl, 1, (12,), seed=1)

    assert new.any() and not before[new].any()
    assert momentum[stayed].any() and not momentum[~stayed].any()
    assert module[0].weight.detach()[new].any()


def test_averages_of_adam_start_at_zero_too():
    module, masks = sparse()
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    rigl = RigL(optimizer, masks, every=2, stop=9)
    old = masks["0.weight"].clone()

    train(module, rigl, 2, (12,))

    fresh = ~(old & masks["0.weight"])
    state = optimizer.state[module[0].weight]
    assert not state["exp_avg"][fresh].any() and not state["exp_avg_sq"][fresh].any()
    assert int(state["step"]) == 1


def test_connections_stay_between_updates_and_from_stop_on():
    module, masks = sparse()
    rigl = RigL(sgd(module), masks, every=4, stop=8)

    history = [masks["0.weight"].clone()]
    for step in range(12):
        train(module, rigl, 1, (12,), seed=step)
        history.append(masks["0.weight"].clone())
        assert not module[0].weight.detach()[~masks["0.weight"]].any()

    assert [step for step in range(1, 13) if not torch.equal(history[step], history[step - 1])] == [4]


def test_an_update_takes_the_place_of_a_step():
    module, masks = sparse()
    bias = module[0].bias.detach().clone()
    backward(module)

    RigL(sgd(module), masks, every=1, stop=9).step()

    assert torch.equal(module[0].bias, bias)


def test_a_closure_is_run_once_whatever_the_step_does():
    module, masks = sparse()
    rigl = RigL(sgd(module), masks, every=2, stop=9)
    losses = iter((1.5, 2.5))

    def closure():
        backward(module)
        return next(losses)

    assert [rigl.step(closure), rigl.step(closure)] == [1.5, 2.5]


def test_set_replaces_the_same_share_always_and_rigl_less_and_less():
    module, masks = sparse()
    options = {"stop": 10, "fraction": 0.4}

    assert [SET(sgd(module), masks, **options).fraction_at(step) for step in (0, 5, 10)] == [0.4] * 3
    assert [RigL(sgd(module), masks, **options).fraction_at(step) for step in (0, 5, 10)] == pytest.approx(
        [0.4, 0.2, 0]
    )


@pytest.mark.parametrize("method", [RigL, SET])
def test_training_goes_on_from_a_checkpoint_as_without_one(method):
    module, masks = sparse()
    updates = method(sgd(module), masks, every=2, stop=9)
    train(module, updates, 3, (12,))
    buffer = io.BytesIO()
    torch.save([part.state_dict() for part in (module, masks, updates)], buffer)

    resumed = perceptron(seed=8)
    again = Masks(resumed)
    continued = method(sgd(resumed), again, every=2, stop=9)
    buffer.seek(0)
    for part, state in zip((resumed, again, continued), torch.load(buffer, weights_only=True), strict=True):
        part.load_state_dict(state)
    train(module, updates, 4, (12,), seed=1)
    train(resumed, continued, 4, (12,), seed=1)

    assert torch.equal(module[0].weight, resumed[0].weight) and torch.equal(masks["2.weight"], again["2.weight"])


def test_learning_rate_schedules_reach_the_optimizer():
    module, masks = sparse()
    optimizer = sgd(module)
    rigl = RigL(optimizer, masks, every=5, stop=9)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    train(module, rigl, 1, (12,))
    schedule.step()

    assert rigl.param_groups[0]["lr"] == 0.05


def test_full_weights_have_nowhere_to_move():
    module = perceptron()
    masks = Masks(module)
    rigl = RigL(sgd(module), masks, every=1, stop=9)
    before = module[0].weight.detach().clone()
    backward(module)

    rigl.step()

    assert masks.density == 1 and torch.equal(module[0].weight, before)


def test_an_update_without_gradients_is_refused_and_changes_nothing():
    module, masks = sparse()
    before = masks.state_dict()

    with pytest.raises(PruneError, match="0.weight has no gradient; RigL needs one"):
        RigL(sgd(module), masks, every=1, stop=9).step()
    assert all(torch.equal(masks[name], before[name]) for name in masks)


@pytest.mark.parametrize(
    "options", [{"every": 0, "stop": 9}, {"stop": 0}, {"stop": 9, "fraction": 0.0}, {"stop": 9, "fraction": 1.0}]
)
def test_schedules_that_make_no_sense_are_refused(options):
    module, masks = sparse()

    with pytest.raises(PruneError, match="needs every >= 1, stop >= 1 and 0 < fraction < 1"):
        RigL(sgd(module), masks, **options)


def test_groups_of_n_of_m_do_not_move():
    module = perceptron()
    masks = Masks(module, pattern="2:4")

    with pytest.raises(PruneError, match="moves elements and blocks, not 2:4; use a pattern RxQ"):
        RigL(sgd(module), masks, stop=9)
