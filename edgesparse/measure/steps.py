"""The time of every kernel call of an artifact, with little noise."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from edgesparse.devices.local import LOCAL
from edgesparse.devices.session import Device, Session
from edgesparse.measure.feeds import random_feeds

RUNS = 10  # of a round; between rounds the machine may get quieter


def step_times_us(artifact: Path, seconds: float, threads: int = 1, device: Device = LOCAL) -> dict[str, float]:
    """As `times_of_steps_us`, of an artifact.

    Raises: MeasureError: the artifact cannot be opened there.
    """
    with device.open(artifact, threads) as model:
        return times_of_steps_us(model, seconds)


def times_of_steps_us(model: Session, seconds: float) -> dict[str, float]:
    """The tenth percentile of the time of each step over rounds of runs, by the name of its layer.

    That of a layer with several steps is the sum of theirs.

    Raises: MeasureError: times of this device say nothing, or it cannot be run.
    """
    rounds: list[np.ndarray] = []
    feeds = random_feeds(model.inputs)
    end = time.perf_counter() + seconds
    while not rounds or time.perf_counter() < end:
        steps = model.step_times(feeds, repeat=RUNS)
        rounds.append(np.array([step.times_us for step in steps]))
    found: dict[str, float] = defaultdict(float)
    for step, p10 in zip(steps, np.percentile(np.concatenate(rounds, axis=1), 10, axis=1), strict=True):
        found[step.name] += float(p10)
    return dict(found)
