"""Rows of factors in which every two levels of two factors meet, where any valid row has them both."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

Row = dict[str, Any]

_TRIES = 12  # rows that are drawn for each pair still to be met


def pairwise(factors: Mapping[str, Sequence[Any]], valid: Callable[[Row], bool], seed: str) -> Iterator[Row]:
    """Rows that together hold all pairs of levels; the same ones every time.

    Args:
        valid: whether a row means anything; pairs that no row drawn for them has are left out.
    """
    draw = random.Random(seed)
    names = sorted(factors)
    pairs = [
        ((a, i), (b, j))
        for a, b in combinations(names, 2)
        for i in range(len(factors[a]))
        for j in range(len(factors[b]))
    ]
    left = (
        dict.fromkeys(pairs) if len(names) > 1 else {((names[0], i),) * 2: None for i in range(len(factors[names[0]]))}
    )
    for pair in list(left):
        if pair not in left:
            continue
        best, met = None, -1
        for _ in range(_TRIES):
            places = {name: draw.randrange(len(factors[name])) for name in names} | dict(pair)
            row = {name: factors[name][place] for name, place in places.items()}
            count = sum(all(places[name] == place for name, place in other) for other in left)
            if count > met and valid(row):
                best, met = (places, row), count
        if best is not None:
            places, row = best
            left = {other: None for other in left if any(places[name] != place for name, place in other)}
            yield row
