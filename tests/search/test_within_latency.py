"""Budgets of latency: what they are, that they are met, and what is said where they cannot be."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from edgesparse.errors import PruneError, SearchError
from edgesparse.frontend import load
from edgesparse.graph.ops import graph_of
from edgesparse.schedule import plan
from edgesparse.search import LEVELS, Measured, Setting, State, parse_latency, prepare, searchable, within_latency
from edgesparse.sparsity.weights import find_weights
from tests.search.models import LAYERS, network, setting


@pytest.mark.parametrize(
    ("text", "us"),
    [("8ms", 8e3), (" 0.5 ms ", 500), ("250us", 250), ("250µs", 250), ("0.01s", 1e4), ("1e-3s", 1e3), (".5us", 0.5)],
)
def test_a_latency_has_a_number_and_a_unit(text, us):
    assert parse_latency(text) == pytest.approx(us)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("8", "got '8' with no unit, expected us, ms or s"),
        ("8min", "with the unit 'min', expected"),
        ("0ms", "expected a positive time such as 8ms"),
        ("-1ms", "expected a positive time"),
        ("1.2.3ms", "expected a positive time"),
        ("1e999s", "expected a positive time"),
        ("fast", "expected a positive time"),
    ],
)
def test_other_latencies_are_refused(text, reason):
    with pytest.raises(SearchError) as err:
        parse_latency(text)

    assert reason in str(err.value)


def predicted_us(problem, densities) -> float:
    """By the schedule, of a model that is really pruned."""
    planned = plan(graph_of(load(problem.setting.prune(densities))), problem.setting.target).layers
    return sum(planned[node].predicted_us for node in LAYERS) + problem.table.rest_us


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_pruned_model_is_predicted_to_meet_the_budget(tmp_path, share):
    problem = prepare(setting(tmp_path))
    budget_us = problem.table.least_us + share * (problem.table.dense_us - problem.table.least_us)

    found = within_latency(problem, budget_us)

    assert found.latency_us <= budget_us and not found.measured
    assert predicted_us(problem, found.densities) == pytest.approx(found.latency_us, rel=0.03)


def test_more_time_loses_less(tmp_path):
    problem = prepare(setting(tmp_path))
    table = problem.table
    budgets = np.linspace(table.least_us, table.dense_us, 5)

    losses = [within_latency(problem, budget).loss for budget in budgets]

    assert losses[0] > losses[2] > losses[-1] == 0.0


def test_a_budget_beyond_the_dense_model_prunes_nothing(tmp_path):
    problem = prepare(setting(tmp_path))

    found = within_latency(problem, 2 * problem.table.dense_us)

    assert set(found.densities.values()) == {1.0}
    assert found.latency_us == problem.table.dense_us


def test_a_budget_that_cannot_be_met_is_refused_with_the_least_time(tmp_path):
    problem = prepare(setting(tmp_path))
    least_ms = problem.table.least_us / 1e3

    with pytest.raises(SearchError) as err:
        within_latency(problem, 0.9 * problem.table.least_us)

    assert f"cannot be reached on rpi4: the least is {least_ms:.4g} ms" in str(err.value)


def test_a_fixed_pattern_is_chosen_layer_by_layer(tmp_path):
    problem = prepare(setting(tmp_path, "2:4"))
    table = problem.table

    found = within_latency(problem, 0.5 * (table.least_us + table.dense_us))

    assert problem.setting.levels == (1.0, 0.5)
    assert set(found.densities.values()) == {0.5, 1.0}


def test_without_samples_the_loss_is_that_of_the_weights(tmp_path):
    problem = prepare(setting(tmp_path, samples=()))
    weight = network().graph.initializers["wide_weight"].const_value.numpy().astype(np.float64).reshape(-1)
    squares = np.sort(weight**2)

    kept = LEVELS.index(0.25)

    assert problem.losses[0, kept] == pytest.approx(squares[: squares.size * 3 // 4].sum() / squares.sum(), rel=1e-5)


class Machine:
    """Runs layers with a sparse kernel slower or faster than predicted, at a speed of its own each time."""

    def __init__(self, dense: Setting, slower: float) -> None:
        self.dense, self.slower, self.rng, self.asked = dense, slower, np.random.default_rng(0), 0
        self.dense_us = sum(self.steps_us(dict.fromkeys(LAYERS, 1.0)).values())

    def steps_us(self, densities) -> dict[str, float]:
        planned = plan(graph_of(load(self.dense.prune(densities))), self.dense.target).layers
        return {n: p.predicted_us * (self.slower if p.kernel == "sparse" else 1.0) for n, p in planned.items()}

    def measure(self, model) -> Measured:
        self.asked += 1
        speed = float(self.rng.uniform(0.5, 2.0))
        kept = {ref.node: ref.nnz / ref.size for ref in find_weights(model) if ref.node in LAYERS}
        steps = self.steps_us(kept)
        return Measured(sum(steps.values()) * speed, self.dense_us * speed, steps)


@pytest.mark.parametrize(("slower", "share"), [(0.8, 0.5), (1.25, 0.3)])
def test_measurements_correct_what_was_predicted(tmp_path, slower, share):
    plain = setting(tmp_path)
    machine = Machine(plain, slower)
    problem = prepare(replace(plain, measure=machine.measure))
    per_level = [machine.steps_us(dict.fromkeys(LAYERS, level)) for level in LEVELS]
    unit = problem.latency_us(problem.dense) / sum(per_level[0].values())
    us = unit * np.array([[steps[node] for steps in per_level] for node in LAYERS])
    rest_us = unit * per_level[0]["stem"]
    least_us = rest_us + us[:, -1].sum()
    budget_us = least_us + share * (problem.latency_us(problem.dense) - least_us)

    found = within_latency(problem, budget_us)

    took_us = rest_us + sum(us[at, LEVELS.index(found.densities[node])] for at, node in enumerate(LAYERS))
    choices = [np.array(levels) for levels in product(range(len(LEVELS)), repeat=len(LAYERS))]
    safe = [levels for levels in choices if rest_us + us[range(len(LAYERS)), levels].sum() <= 0.93 * budget_us]
    summed = [problem.losses[range(len(LAYERS)), levels].sum() for levels in safe]
    assert found.measured and found.latency_us == pytest.approx(took_us, rel=1e-3)
    assert found.latency_us <= 1.01 * budget_us
    assert found.loss <= 1.05 * problem.loss(safe[int(np.argmin(summed))])
    with pytest.raises(SearchError, match=r"\(measured\)"):
        within_latency(problem, 0.9 * least_us)


def test_a_resumed_search_runs_no_model_again(tmp_path):
    first = setting(tmp_path)
    machine = Machine(first, 1.2)
    problem = prepare(replace(first, measure=machine.measure))
    budget_us = 0.6 * problem.latency_us(problem.dense)
    found = within_latency(problem, budget_us)

    again = prepare(replace(first, measure=machine.measure, state=State(first.state.folder, {}, resume=True)))

    assert again.runs == problem.runs
    assert within_latency(again, budget_us).latency_us == pytest.approx(found.latency_us, rel=0.1)
    assert machine.asked == len(again.runs)


def test_a_resumed_search_asks_for_no_loss_again(tmp_path):
    first = setting(tmp_path)
    problem = prepare(first)
    budget_us = 0.5 * (problem.table.least_us + problem.table.dense_us)
    found = within_latency(problem, budget_us)
    kept = {path.name: path.read_text() for path in first.state.folder.iterdir()}

    resumed = State(first.state.folder, {}, resume=True)
    one_core = replace(first.target, cpu=replace(first.target.cpu, cores=1))
    again = prepare(replace(first, target=one_core, state=resumed))

    assert (again.losses == problem.losses).all()
    assert (again.table.us == problem.table.us).all()
    assert within_latency(again, budget_us) == found
    assert {path.name: path.read_text() for path in first.state.folder.iterdir()} == kept


def test_what_cannot_be_pruned_is_not_searched():
    assert searchable(network(), "1x1", ()) == (LAYERS, LEVELS)
    assert searchable(network(), "1x1", ("wide",))[0] == {"narrow": "narrow_weight", "head": "head_weight"}
    with pytest.raises(SearchError, match="no layer is left whose density can be chosen with pattern 7x1"):
        searchable(network(), "7x1", ())
    with pytest.raises(PruneError, match="matches no layer"):
        searchable(network(), "1x1", ("tail",))
