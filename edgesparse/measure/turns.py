"""Workers measured in turns, so that noise hits all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

from edgesparse.measure.worker import Unavailable, Worker

TURN_NS = 60e6
MIN_ROUNDS = 5


def take_turns(workers: Mapping[int, Worker], seconds: float) -> tuple[dict[int, list[int]], dict[int, str]]:
    """Nanoseconds of the runs of each worker, and why those that failed on the way did.

    A turn is one run that is not counted and then as many as fit TURN_NS, at least two.
    """
    times: dict[int, list[int]] = {at: [] for at in workers}
    turns = dict.fromkeys(workers, 3)
    failures: dict[int, str] = {}
    end, rounds = time.monotonic() + seconds, 0
    while times and (rounds <= MIN_ROUNDS or time.monotonic() < end):
        for at in list(times):
            try:
                taken = workers[at].run(turns[at])
            except Unavailable as err:
                failures[at] = str(err)
                del times[at]
                continue
            if rounds:
                times[at] += taken
            else:  # the first round warms up, and says how many runs fill a turn
                turns[at] = max(2, min(50, int(TURN_NS / statistics.median(taken))))
        rounds += 1
    return times, failures
