"""Wall time of inferences; several sessions are timed in turns, so that noise hits all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from edgesparse.devices.session import Timed
from edgesparse.errors import MeasureError
from edgesparse.measure.figure import Origin

TURN_NS = 60e6
MIN_RUNS, MAX_RUNS = 2, 50  # of a turn
MIN_ROUNDS = 5
MOST_SECONDS = 1e6

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Latency:
    """Wall time of one inference over `runs` runs, in microseconds."""

    runs: int
    p10_us: float
    median_us: float
    p90_us: float
    origin: Origin = Origin.MEASURED


def take_turns(
    sessions: Mapping[Key, Timed],
    inputs: Mapping[str, np.ndarray],
    seconds: float,
    failures: dict[Key, str] | None = None,
) -> dict[Key, Latency]:
    """Time the sessions in turns, again and again, for so many seconds and at least MIN_ROUNDS.

    A turn is one run that is not counted and then as many as fit TURN_NS, by the turn before. The first round warms up.

    Args: failures: gets why a session fails, the others go on; without it, the first failure ends all.

    Raises: MeasureError: `seconds` is negative or no number, or a session fails.
    """
    if not isinstance(seconds, int | float) or not 0 <= seconds <= MOST_SECONDS:
        raise MeasureError(f"bench: got seconds={seconds!r}, expected 0 or more")
    times_ns: dict[Key, list[int]] = {key: [] for key in sessions}
    runs = dict.fromkeys(sessions, 3)
    end, rounds = 0.0, 0
    while times_ns and (rounds <= MIN_ROUNDS or time.monotonic() < end):
        for key in list(times_ns):
            try:
                taken = sessions[key].time(inputs, repeat=runs[key])
            except MeasureError as err:
                if failures is None:
                    raise MeasureError(f"{key} cannot be timed: {err}") from err
                failures[key] = str(err)
                del times_ns[key]
                continue
            times_ns[key] += taken if rounds else ()
            runs[key] = max(MIN_RUNS, min(MAX_RUNS, int(TURN_NS / statistics.median(taken))))
        end = end if rounds else time.monotonic() + seconds
        rounds += 1
    return {key: summarise([ns / 1000 for ns in taken]) for key, taken in times_ns.items()}


def summarise(values_us: Sequence[float]) -> Latency:
    """Percentiles of at least two times, in microseconds."""
    deciles = statistics.quantiles(values_us, n=10, method="inclusive")
    return Latency(len(values_us), p10_us=deciles[0], median_us=statistics.median(values_us), p90_us=deciles[8])
