"""Checks of single values of options; each gets the value and what messages call it, and raises a PruneError."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgesparse.errors import PruneError

UNITS_S = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def share(value: object, where: str) -> None:
    """From 0 up to below 1."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and 0.0 <= value < 1.0):  # type: ignore[operator]
        raise PruneError(f"{where}: {no_share(value)}")


def no_share(value: object) -> str:
    """What is wrong with `value` as a share, and what may be meant by it: 0.9 by 90 and by 90%."""
    got = repr(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    percent = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", str(value).strip())
    meant = float(percent[1]) / 100 if percent else 1.0
    likely = percent is not None and meant < 1.0 and (percent[2] or meant > 0.01)
    return f"got {got}, expected a share from 0 up to below 1" + (f"; did you mean {meant:g}?" if likely else "")


def latency(text: str, _where: str) -> None:
    """A time such as 8ms."""
    from edgesparse.search import parse_latency

    parse_latency(text)


def speedup(factor: float, where: str) -> None:
    """Above 1."""
    if not 1 < factor < math.inf:
        raise PruneError(f"{where}: got {factor:g}, expected a number above 1 such as 3")


def drop(value: str | float, _where: str) -> None:
    """A share such as 1% or 0.01."""
    from edgesparse.search import parse_drop

    parse_drop(value)


def method(name: str, where: str) -> None:
    """A method of pruning."""
    from edgesparse.prune import METHODS, named

    named(METHODS, name, where)


def allocation(name: str, where: str) -> None:
    """A way to share a sparsity among layers."""
    from edgesparse.prune import ALLOCATIONS, named

    named(ALLOCATIONS, name, where)


def match(name: str, where: str) -> None:
    """What layers are fitted to."""
    from edgesparse.prune import MATCHES, named

    named(dict.fromkeys(MATCHES), name, where)


def pattern(text: str, _where: str) -> None:
    """A pattern of zeros."""
    from edgesparse.prune import pattern_called

    pattern_called(text)


def layers(options: Mapping[str, Any], where: str) -> None:
    """Options of single layers by their names."""
    for name, own in options.items():
        if not isinstance(own, Mapping):
            raise PruneError(f"{where}: {name}: got {own!r}, expected options such as sparsity")
        if own.get("sparsity") is not None:
            share(own["sparsity"], f"{where}: {name}: sparsity")
        if "pattern" in own:
            pattern(own["pattern"], where)


def importance(name: str, _where: str) -> None:
    """A measure of what channels matter."""
    _structure(importance=name)


def kinds(names: Sequence[str], _where: str) -> None:
    """What can be taken out whole."""
    _structure(kinds=names)


def multiple(number: int, _where: str) -> None:
    """Of a dimension."""
    _structure(multiple=number)


def _structure(importance: str = "l2", kinds: Sequence[str] = ("channels",), multiple: int = 1) -> None:
    from edgesparse.prune import check_shrink

    check_shrink(0.0, importance, kinds, multiple)


def recover(time: str, _where: str) -> None:
    """How long to recover, where PyTorch is installed."""
    parse_time(time)
    _augmentations()


def augment(names: Sequence[str], where: str) -> None:
    """What is done to images."""
    from edgesparse.prune import named

    for name in names:
        named(_augmentations(), name, where)


def _augmentations() -> dict[str, Any]:
    try:
        from edgesparse.torch import AUGMENTATIONS
    except ImportError as err:
        raise PruneError("recover needs PyTorch; remedy: pip install 'edgesparse[torch]'") from err
    return dict(AUGMENTATIONS)


def parse_time(text: str) -> float:
    """Seconds of a time such as "2m", "90s" or "1h".

    Raises: PruneError: it is no positive number with a unit.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)\s*", str(text))
    if found is None or float(found[1]) == 0.0:
        raise PruneError(f"recover: got {text!r}, expected a time such as 2m, 90s or 1h")
    return float(found[1]) * UNITS_S[found[2]]
