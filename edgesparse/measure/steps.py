"""The time of every kernel call of an artifact, with little noise."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from edgesparse.devices.local import LOCAL
from edgesparse.devices.session import Device
from edgesparse.measure.feeds import random_feeds

RUNS = 10  # of a round; between rounds the machine may get quieter


def step_times_us(artifact: Path, seconds: float, threads: int = 1, device: Device = LOCAL) -> dict[str, float]:
    """The tenth percentile of the time of each step over rounds of runs, by the name of its layer.

    Raises: MeasureError: the artifact cannot be opened there.
    """
    rounds: list[np.ndarray] = []
    with device.open(artifact, threads) as model:
        feeds = random_feeds(model.inputs)
        end = time.perf_counter() + seconds
        while not rounds or time.perf_counter() < end:
            steps = model.profile(feeds, repeat=RUNS)
            rounds.append(np.array([step.times_us for step in steps]))
    p10 = np.percentile(np.concatenate(rounds, axis=1), 10, axis=1)
    return {step.name: float(value) for step, value in zip(steps, p10, strict=True)}
