"""Why a layer runs as it does, in words."""

from __future__ import annotations

from edgesparse.calibration import Calibration
from edgesparse.layers import Layer
from edgesparse.plan import Tile
from edgesparse.schedule.cost import START, STEP, Work, time_us

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


def reason(layer: Layer, break_even: float, tile: Tile, units: Work, calibration: Calibration) -> str:
    """Compare the density with the break-even, and name what the chosen kernel spends its time on.

    Args:
        tile, units: those of the chosen kernel.
    """
    density = layer.density
    if density == 1.0:
        head = f"has no zeros (break-even {break_even:.2f})"
    elif density < break_even:
        head = f"density {density:.2f} is below the break-even {break_even:.2f}"
    else:
        head = f"density {density:.2f} is not below the break-even {break_even:.2f}"
    notes = ["a single column: every weight is read for one multiply-add"] if layer.is_vector else []
    if tile.square > 1:
        notes.append("minimal filtering (Winograd) takes 16 multiplications for 36")
    notes += [f"{share:.0%} {name}" for name, share in _shares(units, calibration) if share >= WORTH_TELLING]
    return "; ".join([head, *notes])


def _shares(units: Work, calibration: Calibration) -> list[tuple[str, float]]:
    """Shares of the time that are not multiplying, the largest first."""
    times: dict[str, float] = {}
    for key, count in units.items():
        name = _PARTS[key if isinstance(key, str) else key[1]]
        times[name] = times.get(name, 0.0) + (time_us({key: count}, calibration) or 0.0)
    total = sum(times.values()) or 1.0
    shares = [(name, time / total) for name, time in times.items() if name != _PARTS[STEP]]
    return sorted(shares, key=lambda item: -item[1])
