"""What `explain` says of a layer follows from the figures that it prints beside it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgesparse.devices import targets
from edgesparse.graph.ops import graph_of
from edgesparse.plan import LayerPlan, apart
from edgesparse.schedule import plan
from edgesparse.schedule.reason import verdict
from tests.schedule.test_choose import convolution

ERRORS = {"measured": 0.05, "estimated": 0.2}  # shares of the dense time that the cost model is taken to err by
DENSITIES = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 0.97, 1.0)
SHAPES = ((1, 32, 14, 3), (3, 16, 28, 1), (7, 33, 9, 1), (24, 144, 14, 1), (64, 64, 1, 1))
FASTER = r"(dense|sparse) is predicted ([\d.]+)% faster"


def explained(target: str, threads: int) -> list[LayerPlan]:
    """Layers of many densities, some of them just beyond the break-even."""
    machine = targets.load(target)
    found = []
    for m, k, size, window in SHAPES:
        for density in DENSITIES:
            found.append(plan(graph_of(convolution(m, k, size, density, window)), machine, threads).layers["conv"])
        beyond = [told.break_even * 1.02 for told in found[-len(DENSITIES) :] if 0 < told.break_even < 0.95]
        found += [
            plan(graph_of(convolution(m, k, size, each, window)), machine, threads).layers["conv"]
            for each in beyond[:2]
        ]
    return found


def check_words(told: LayerPlan, threads: int) -> None:
    """Every claim in the reason, against the figures alone."""
    verdict, *notes = told.reason.split("; ")
    here = [note for note in notes if note.startswith("on ")]
    winner = "sparse" if told.saved > 0 else "dense"
    share = 100 * (told.saved if told.saved > 0 else 1 - 1 / (1 - told.saved))
    if "equally fast" in verdict:
        assert share < 0.05
    elif named := re.search(FASTER, verdict):
        assert (named[1], float(named[2])) == (winner, pytest.approx(share, abs=0.051))
    assert ("no zeros" in verdict) == (told.density == 1)
    assert ("within the model's error" in verdict) == (told.density < 1 and told.saved > 0 and told.kernel == "dense")
    if told.density < 1:
        density, relation, even = re.search(
            r"density ([\d.]+) (is|is not) below the break-even ([\d.]+)", verdict
        ).groups()
        assert (float(density) < float(even)) == (relation == "is") == (told.kernel == "sparse")
        assert (told.kernel == "sparse") == (told.saved > ERRORS[told.origin])
    else:
        assert told.kernel == "dense"
    first = "sparse" if told.sparse_us < told.dense_us else "dense"
    if here:
        assert here[0].startswith(f"on {threads} thread(s) alone") and first != winner
        assert f"{first} is" in here[0] or "equally" in here[0]
    else:
        assert first == winner or told.sparse_us == told.dense_us or told.saved == 0


@pytest.mark.parametrize(("target", "threads"), [("x86-64-v3", 1), ("rpi4", 4)])
def test_words_follow_from_the_printed_figures(target, threads):
    found = explained(target, threads)

    for told in found:
        check_words(told, threads)
    assert {told.kernel for told in found} == {"dense", "sparse"}


def test_the_margin_for_the_models_error_is_told():
    told = verdict(density=0.5, break_even=0.45, saved=0.03)

    assert told == (
        "sparse is predicted 3.0% faster, within the model's error: density 0.500 is not below the break-even 0.450"
    )


def test_no_density_but_one_without_zeros_is_kept_dense_by_rule():
    """Where sparse is predicted to win with hardly a zero, it runs, and the break-even says so."""
    graph = graph_of(convolution(3, 16, 28, 0.97))
    told = plan(graph, targets.load("x86-64-v3")).layers["conv"]

    assert 0.95 < graph.weighted[0].layer.density < told.break_even
    assert told.kernel == "sparse"


@pytest.mark.parametrize(("one", "other"), [(0.351, 0.352), (0.3514, 0.35143), (0.9996, 1.0), (0.0, 0.0)])
def test_a_density_and_its_break_even_are_told_apart(one, other):
    texts = apart(one, other)

    assert (float(texts[0]) < float(texts[1])) == (one < other)
    assert all(np.isclose(float(text), value, atol=5e-4) for text, value in zip(texts, (one, other), strict=True))
