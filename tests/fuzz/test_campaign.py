"""A sample of random graphs is right; faults that were repaired are found when they are put back."""

from __future__ import annotations

import pytest

from tests.fuzz.campaign import Campaign
from tests.fuzz.coverage import Coverage
from tests.fuzz.faults import FAULTS

OPSET = 22
GRAPHS = 300  # of a part of the slow campaign
PARTS = 10


def judged(seed: int, graphs: int, **options) -> Campaign:
    """A campaign that has judged so many graphs, or found something with a fault in."""
    campaign = Campaign(seed, Coverage(OPSET, only=options.pop("only", ())), **options)
    try:
        for _ in campaign.run(graphs=graphs):
            if "fault" in options:
                break
    finally:
        campaign.close()
    return campaign


def test_a_sample_of_graphs_is_right():
    tally = judged(1, 8, shrinks=False).tally

    assert not tally.findings, "\n".join(map(str, tally.findings))
    assert tally.right > 0


@pytest.mark.parametrize("fault", ["booleans compared as floats", "nodes in one order only"])
def test_a_fault_that_was_repaired_is_found(fault):
    assert judged(1, 24, fault=fault, only=FAULTS[fault].near, shrinks=False, witness=0).tally.findings


@pytest.mark.slow(part="sweeps")
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_found(fault):
    assert judged(1, 300, fault=fault, only=FAULTS[fault].near, shrinks=False, witness=0).tally.findings


@pytest.mark.slow(part="sweeps")
@pytest.mark.parametrize("part", range(PARTS))
def test_graphs_are_right(part):
    tally = judged(100 + part, GRAPHS).tally

    assert not tally.findings, "\n".join(map(str, tally.findings))
