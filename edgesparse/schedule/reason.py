"""Why a layer runs as it does, in words."""

from __future__ import annotations

from edgesparse.devices.costs import CostTable
from edgesparse.forms.tile import Tile
from edgesparse.forms.work import START, STEP, Work
from edgesparse.plan import apart
from edgesparse.schedule.cost import time_us

_PARTS = {
    STEP: "multiplying",
    START: "starting and ending rows",
    "call_ns": "calling",
    "tile_ns": "starting tiles",
    "pack_row_ns": "packing x",
    "pack_vector_ns": "packing x",
    "partial_vector_ns": "partial sums",
    "store_piece_ns": "storing pieces",
    "far_vector_ns": "fetching x from beyond L1",
    "far_kib_ns": "moving x and y",
    "weight_kib_ns": "reading weights",
    "weight_again_kib_ns": "reading weights again",
    "activation_vector_ns": "the activation",
}
WORTH_TELLING = 0.15  # share of the time


def verdict(density: float, break_even: float, saved: float) -> str:
    """Which of the best kernels is predicted faster, and what follows from it.

    Args:
        saved: share of the dense time that sparse saves, by which the choice is made.
    """
    faster = _faster(saved)
    if density == 1.0:
        return "has no zeros to skip" + (f", though {faster}" if saved > 0 else "")
    below, even = apart(density, break_even)
    if density < break_even:
        return f"{faster}: density {below} is below the break-even {even}"
    error = ", within the model's error" if saved > 0 else ""
    return f"{faster}{error}: density {below} is not below the break-even {even}"


def on_these_threads(dense_us: float, sparse_us: float, saved: float, threads: int) -> str:
    """Where another kernel is faster on so many threads than in the mean of one thread and all cores."""
    here = 1.0 - sparse_us / dense_us
    return "" if here * saved >= 0 else f"on {threads} thread(s) alone {_faster(here)}"


def _faster(saved: float) -> str:
    """Which kernel saves what share of the other's time."""
    share = saved if saved > 0 else saved / (saved - 1.0)
    if f"{share:.1%}" == "0.0%":
        return "dense and sparse are predicted equally fast"
    return f"{'sparse' if saved > 0 else 'dense'} is predicted {share:.1%} faster"


def within_error(method: str, saved: float) -> str:
    """That a method is predicted to save time, too little to rely on."""
    return f"{method} is predicted {saved:.1%} faster, within the model's error"


def spending(tile: Tile, units: Work, table: CostTable) -> list[str]:
    """What the chosen kernel is, and what it spends its time on."""
    notes = [tile.note] if tile.note else []
    return notes + [f"{share:.0%} {name}" for name, share in _shares(units, table) if share >= WORTH_TELLING]


def _shares(units: Work, table: CostTable) -> list[tuple[str, float]]:
    """Shares of the time that are not multiplying, the largest first."""
    times: dict[str, float] = {}
    for key, count in units.items():
        name = _PARTS[key if isinstance(key, str) else key[1]]
        times[name] = times.get(name, 0.0) + (time_us({key: count}, table) or 0.0)
    total = sum(times.values()) or 1.0
    shares = [(name, time / total) for name, time in times.items() if name != _PARTS[STEP]]
    return sorted(shares, key=lambda item: -item[1])
