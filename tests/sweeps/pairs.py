"""Rows of factors in which every two levels of two factors meet, where any valid row has them both."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

Row = dict[str, Any]
Pair = tuple[tuple[str, int], tuple[str, int]]

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
    left = dict.fromkeys(pairs or [((names[0], i),) * 2 for i in range(len(factors[names[0]]))])

    def met(places: Mapping[str, int]) -> list[Pair]:
        """The pairs still to be met that a row has."""
        its = list(combinations(sorted(places.items()), 2)) or [(place, place) for place in places.items()]
        return [pair for pair in its if pair in left]

    for pair in list(left):
        if pair not in left:
            continue
        best: tuple[list[Pair], Row] = ([], {})
        for _ in range(_TRIES):
            places = {name: draw.randrange(len(factors[name])) for name in names} | dict(pair)
            row = {name: factors[name][place] for name, place in places.items()}
            found = met(places)
            if len(found) > len(best[0]) and valid(row):
                best = found, row
        if best[0]:
            for other in best[0]:
                del left[other]
            yield best[1]
