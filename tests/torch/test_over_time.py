"""Gradual pruning, prune and retrain, and rewinding, against hand-computed values."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; the extra torch has it")

from edgesparse.errors import PruneError  # noqa: E402
from edgesparse.torch import GradualPruning, Masks, Rewind, cubic_density, iterative_pruning  # noqa: E402
from tests.torch.modules import perceptron, train  # noqa: E402

pytestmark = pytest.mark.slow(part="torch")


@pytest.mark.parametrize(
    ("step", "density"),
    [(0, 1.0), (10, 1.0), (15, 0.4796875), (20, 0.2125), (25, 0.1140625), (30, 0.1), (99, 0.1)],
)
def test_density_falls_along_the_cubic(step, density):
    """0.1 + 0.9 * (1 - t)^3 over steps 10 to 30: (3/4)^3 = 0.421875, (1/2)^3 = 0.125, (1/4)^3 = 0.015625."""
    assert cubic_density(step, begin=10, end=30, final=0.1) == pytest.approx(density)


def test_the_cubic_starts_where_it_is_told():
    assert cubic_density(0, begin=0, end=10, final=0.2, initial=0.6) == pytest.approx(0.6)
    assert cubic_density(5, begin=0, end=10, final=0.2, initial=0.6) == pytest.approx(0.2 + 0.4 / 8)


def test_gradual_pruning_prunes_when_it_is_time_to():
    masks = Masks(perceptron())
    pruning = GradualPruning(masks, 0.25, begin=2, end=7, every=2)

    densities = []
    for _ in range(9):
        pruning.step()
        densities.append(masks.density)

    at_4, at_6 = 0.25 + 0.75 * 0.6**3, 0.25 + 0.75 * 0.2**3
    assert densities == pytest.approx([1, 1, 1, at_4, at_4, at_6, 0.25, 0.25, 0.25], abs=1 / 256)


def test_gradual_pruning_goes_on_where_it_was():
    masks = Masks(perceptron())
    pruning = GradualPruning(masks, 0.25, end=4)
    pruning.step()

    resumed = GradualPruning(masks, 0.25, end=4)
    resumed.load_state_dict(pruning.state_dict())
    resumed.step()

    assert masks.density == pytest.approx(0.25 + 0.75 / 8, abs=1 / 256)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 0.0, "end": 4}, "needs 0 < density <= initial <= 1; got 0 and 1"),
        ({"density": 0.5, "initial": 0.4, "end": 4}, "got 0.5 and 0.4"),
        ({"density": 0.5, "begin": 4, "end": 4}, "needs 0 <= begin < end and every >= 1; got 4, 4 and 1"),
        ({"density": 0.5, "end": 4, "every": 0}, "got 0, 4 and 0"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(options, message):
    with pytest.raises(PruneError, match=message):
        GradualPruning(Masks(perceptron()), **options)


def test_patterns_of_fixed_density_are_not_reached_gradually():
    with pytest.raises(PruneError, match="pattern 2:4 fixes the density"):
        GradualPruning(Masks(perceptron(), pattern="2:4"), 0.5, end=4)


def noting(starts):
    """A training of three steps that notes what it started from."""

    def run(masks):
        starts.append(copy.deepcopy(masks.module.state_dict()))
        optimizer = torch.optim.SGD(masks.module.parameters(), 0.1, momentum=0.9)
        masks.hold(optimizer)
        train(masks.module, optimizer, 3, (12,))

    return run


@pytest.mark.parametrize("k", [0, 2])
def test_rewinding_restores_exactly_what_is_kept(k):
    module = perceptron()
    train(module, torch.optim.SGD(module.parameters(), 0.1), k, (12,))
    origin = copy.deepcopy(module.state_dict())
    masks, starts = Masks(module), []

    reached = list(iterative_pruning(masks, (0.5, 0.25), noting(starts), rewind=Rewind(module)))

    assert reached == pytest.approx([1, 0.5, 0.25])
    assert len(starts) == 3
    assert all(torch.equal(start["0.bias"], origin["0.bias"]) for start in starts)
    for name in masks:
        assert torch.equal(starts[-1][name], torch.where(masks[name], origin[name], 0.0))


def test_retraining_goes_on_from_the_trained_weights():
    module = perceptron()
    origin = copy.deepcopy(module.state_dict())
    masks, starts = Masks(module), []

    rounds = iterative_pruning(masks, (0.5,), noting(starts))
    next(rounds)
    trained = copy.deepcopy(module.state_dict())
    next(rounds)

    assert torch.equal(starts[1]["0.weight"], torch.where(masks["0.weight"], trained["0.weight"], 0.0))
    assert torch.equal(starts[1]["0.bias"], trained["0.bias"]) and not torch.equal(trained["0.bias"], origin["0.bias"])


def test_each_round_keeps_the_largest_trained_weights():
    module = perceptron()
    masks = Masks(module)

    rounds = iterative_pruning(masks, (0.5,), noting([]), rewind=Rewind(module))
    next(rounds)
    trained = torch.cat([masks.parameter(name).detach().abs().flatten() for name in masks])
    next(rounds)

    kept = torch.cat([masks[name].flatten() for name in masks])
    assert trained[kept].min() > trained[~kept].max()


@pytest.mark.parametrize("densities", [(0.5, 0.5), (1.0,), (0.5, 0.6)])
def test_densities_have_to_fall(densities):
    with pytest.raises(PruneError, match="densities must fall from below 1; got"):
        next(iterative_pruning(Masks(perceptron()), densities, lambda masks: None))
