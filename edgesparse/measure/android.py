"""The battery of an Android phone as a meter: its current and its voltage, asked for over adb while a profile is made.

Source: AOSP, BatteryService.dump and its shell commands; BatteryManager.BATTERY_STATUS_DISCHARGING.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from edgesparse.devices.remote import ADB, Remote
from edgesparse.devices.shell import Shell
from edgesparse.errors import MeasureError
from edgesparse.measure.readings import Readings

METER = "android"
ASKED = "dumpsys battery; cmd battery get current_now"
"""Some phones tell the current with the first command, Android since 14 with the second."""

INTERVAL_S = 0.5
PATIENCE_S = 10.0
"""For the last answer."""

DISCHARGING = 3
LEAST_W, MOST_W = 0.02, 100.0
"""Of a phone that is awake; some count their current in other units."""


@dataclass
class BatteryLog:
    """What a battery says while its thread asks: times of the wall clock here, and watts."""

    device: str
    times_s: list[float] = field(default_factory=list)
    watts: list[float] = field(default_factory=list)
    asked_s: float = 0.0  # when it was asked last
    error: MeasureError | None = None

    def ask(self, shell: Shell) -> None:
        """Take a reading, if it is another than the last: batteries measure every few seconds.

        Raises: MeasureError: the phone does not tell, charges, or is gone.
        """
        before = time.time()
        _, printed = shell.run(ASKED)
        self.asked_s = (before + time.time()) / 2
        watts = power(printed, self.device)
        if not self.watts or watts != self.watts[-1]:
            self.times_s.append(self.asked_s)
            self.watts.append(watts)

    def readings(self) -> Readings:
        """All of them, and the last one once more at the time when nothing else had been read yet.

        Raises: MeasureError: the phone stopped to tell.
        """
        if self.error is not None:
            raise self.error
        return Readings(np.array([*self.times_s, self.asked_s]), np.array([*self.watts, self.watts[-1]]))


def power(printed: str, device: str) -> float:
    """Watts that a battery gives, from what `ASKED` prints.

    Vendors do not agree on the sign of the current: whether it charges is told beside it.

    Raises: MeasureError: it charges, or the phone does not tell its current, or none that can be.
    """
    told = {name: _number(pattern, printed) for name, pattern in _FIELDS.items()}
    sources = re.findall(r"^\s*(\w+) powered: true\s*$", printed, re.MULTILINE)
    if sources or told["status"] not in (None, DISCHARGING):
        why = f"powered by {', '.join(sources)}" if sources else f"status {told['status']}"
        remedy = f"pull the cable, and reach it over Wi-Fi (adb tcpip 5555, then --on {ADB}ADDRESS:5555)"
        raise MeasureError(f"{device}: its battery is not what feeds it ({why}): {remedy}")
    current, millivolts = told["current"] if told["current"] is not None else told["current_now"], told["voltage"]
    if current is None or millivolts is None or told["status"] is None:
        raise MeasureError(f"{device}: its battery tells no current; an external meter's .csv file would do")
    watts = abs(current) * 1e-6 * millivolts * 1e-3
    if not LEAST_W <= watts <= MOST_W:
        raise MeasureError(f"{device}: its battery tells {current} uA at {millivolts} mV, which cannot be of a phone")
    return watts


_FIELDS = {
    "status": r"^\s*status: ([0-9]{1,2})\s*$",
    "current": r"^\s*current now: (-?[0-9]{1,9})\s*$",
    "voltage": r"^\s*voltage: ([0-9]{1,6})\s*$",
    "current_now": r"^(-?[0-9]{1,9})\s*\Z",
}


def _number(pattern: str, text: str) -> int | None:
    found = re.search(pattern, text, re.MULTILINE | re.IGNORECASE)
    return int(found[1]) if found else None


@contextmanager
def battery_log(on: str | None) -> Iterator[BatteryLog]:
    """The log of a phone's battery for the length of a `with` block, over a connection of its own.

    Raises: MeasureError: it is no device that adb reaches, or does not tell what its battery gives.
    """
    if on is None or not on.startswith(ADB):
        raise MeasureError(f"meter: got {METER!r}, which needs --on {ADB}SERIAL, a phone that adb reaches")
    remote = Remote(on)
    log, is_over = BatteryLog(remote.name), threading.Event()
    with remote.shell() as shell:
        log.ask(shell)
        thread = threading.Thread(target=_follow, args=(log, shell, is_over), daemon=True)
        thread.start()
        try:
            yield log
        finally:
            is_over.set()
            thread.join(PATIENCE_S)
        if thread.is_alive():
            raise MeasureError(f"{remote.name}: its battery does not answer any more")


def _follow(log: BatteryLog, shell: Shell, is_over: threading.Event) -> None:
    """Ask until it is over, and once more behind that."""
    try:
        while not is_over.wait(INTERVAL_S):
            log.ask(shell)
        log.ask(shell)
    except MeasureError as err:
        log.error = err
    except (OSError, ValueError) as err:  # of a connection that is closed here
        log.error = MeasureError(f"{log.device}: its battery does not answer any more: {err}")
