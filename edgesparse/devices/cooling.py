"""Wait until a device is cool: a hot one lowers its clock."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from edgesparse.devices.facts import DeviceFacts
from edgesparse.errors import MeasureError

PATIENCE_S = 600.0
INTERVAL_S = 2.0
COLDEST_C, HOTTEST_C = 0.0, 120.0


def degrees(cool_down: str | float | None) -> float | None:
    """Degrees Celsius in a text such as "45C"; None where nothing is asked for.

    Raises: MeasureError: it is no temperature.
    """
    if cool_down is None:
        return None
    number = re.fullmatch(r"\s*([0-9]{1,3}(?:\.[0-9]{1,3})?)\s*[cC]?\s*", str(cool_down))
    if not number or not COLDEST_C < float(number[1]) <= HOTTEST_C:
        raise MeasureError(f"cool-down: got {cool_down!r}, expected degrees Celsius, such as 45C")
    return float(number[1])


def wait(
    look: Callable[[], DeviceFacts], most_c: float, device: str, told: Callable[[str, float], None]
) -> DeviceFacts:
    """Wait until the hottest sensor of a device says `most_c` or less; returns what it says then.

    Args:
        look: asks the device.
        told: is called with what is waited for, and the share of the way that is done.

    Raises: MeasureError: it has no sensor, or is too hot for PATIENCE_S.
    """
    end, first_c = time.monotonic() + PATIENCE_S, None
    while True:
        facts = look()
        now_c = facts.temperature_c
        if now_c is None:
            raise MeasureError(f"{device}: tells no temperature; leave cool-down out")
        if now_c <= most_c:
            return facts
        if time.monotonic() >= end:
            raise MeasureError(
                f"{device}: is {now_c:.1f} C hot ({facts.sensor}) after {PATIENCE_S:.0f} s, expected {most_c:g} C or "
                "less; let it rest, cool it better or ask for less"
            )
        first_c = first_c or now_c
        told(f"waiting for {device} to cool to {most_c:g} C", max(0.0, (first_c - now_c) / (first_c - most_c)))
        time.sleep(INTERVAL_S)
