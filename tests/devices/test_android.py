"""The battery of a phone as a meter: texts as Android prints them, and the fake of its daemon behind the real adb."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest

import edgesparse
from edgesparse.errors import MeasureError
from edgesparse.measure import android
from edgesparse.measure.android import BatteryLog, power

DUMPED = """Current Battery Service state:
  AC powered: false
  USB powered: false
  Wireless powered: false
  Max charging current: 0
  Max charging voltage: 0
  Charge counter: 2345000
  status: 3
  health: 2
  present: true
  level: 85
  scale: 100
  voltage: 4000
  temperature: 300
  technology: Li-ion
"""
TELLS_NOW = DUMPED + "  current now: -250000\n"


@pytest.mark.parametrize(
    "printed",
    [
        TELLS_NOW,
        TELLS_NOW.replace("-250000", "250000"),
        TELLS_NOW + "cmd: Can't find service: battery\n",
        DUMPED + "-250000\n",
        DUMPED.replace("\n", "\r\n") + "250000\r\n",
    ],
)
def test_power_is_current_times_voltage_whatever_the_sign(printed):
    assert power(printed, "phone") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (TELLS_NOW.replace("USB powered: false", "USB powered: true"), "(powered by USB): pull the cable"),
        (TELLS_NOW.replace("status: 3", "status: 2"), "(status 2): pull the cable"),
        (DUMPED, "tells no current"),
        ("", "tells no current"),
        ("250000\n", "tells no current"),
        (TELLS_NOW.replace("voltage: 4000", "voltage: 4"), "-250000 uA at 4 mV, which cannot be"),
        (TELLS_NOW.replace("-250000", "-250"), "-250 uA at 4000 mV, which cannot be"),
        (TELLS_NOW.replace("-250000", "9" * 30), "tells no current"),
    ],
)
def test_a_battery_that_charges_or_tells_nothing_is_one_line(printed, words):
    with pytest.raises(MeasureError, match=r"^phone: its battery ") as err:
        power(printed, "phone")

    assert words in str(err.value) and "\n" not in str(err.value)


def test_what_does_not_change_is_no_new_reading():
    class Shell:
        """Prints what is next."""

        def __init__(self, *left: str) -> None:
            self.left = [*left]

        def run(self, _: str) -> tuple[int, str]:
            time.sleep(0.01)
            return 0, f"{DUMPED}{self.left.pop(0)}"

    log, shell = BatteryLog("phone"), Shell("100000", "100000", "300000", "300000", "300000", "100000", "100000")

    while shell.left:
        log.ask(shell)

    assert log.watts == pytest.approx([0.4, 1.2, 0.4])
    read = log.readings()
    assert read.joules(read.times_s[0], read.times_s[-1])[1] == 2 and len(read.watts) == 4


@pytest.mark.parametrize("on", [None, "pi@board"])
def test_it_needs_a_phone_that_adb_reaches(on, tmp_path):
    with pytest.raises(MeasureError, match="meter: got 'android', which needs --on adb:SERIAL"):
        edgesparse.profile(tmp_path / "none.esp", meter="android", on=on)


def battery(folder: Path, text: str) -> str:
    """Functions of a shell that print a battery's state, whose current changes from one millisecond to the next."""
    (folder / "dumped").write_text(text)
    now = "echo $((250000 + 10#${EPOCHREALTIME#*.}))"
    return f"dumpsys() {{ cat {shlex.quote(str(folder / 'dumped'))}; }}\ncmd() {{ {now}; }}"


@pytest.mark.slow(part="boards")
def test_a_phone_weighs_itself_by_its_battery(phone, artifact, tmp_path, monkeypatch):
    monkeypatch.setattr(android, "INTERVAL_S", 0.02)
    monkeypatch.setattr("edgesparse.pipeline.profiling.SHORTEST_WINDOW_S", 0.5)
    device = phone(more=battery(tmp_path, DUMPED))

    report = edgesparse.profile(artifact, seconds=30, meter="android", battery_wh=4, on=f"adb:{device.serial}")

    (profile,) = report.profiles.values()
    energy = profile.energy
    assert energy.gross.value is not None, energy.gross.how
    assert 1.0 <= energy.mean.value <= 5.0 and 1.0 <= energy.idle.value <= 5.0  # 250 to 1250 mA at 4 V
    assert energy.meter == "android" and all(window.samples >= 6 for window in energy.windows)
    assert profile.battery.value == pytest.approx(4 / energy.mean.value)


def test_a_battery_that_measures_too_seldom_makes_no_figure(phone, artifact, tmp_path, monkeypatch):
    monkeypatch.setattr(android, "INTERVAL_S", 0.05)
    monkeypatch.setattr("edgesparse.pipeline.profiling.SHORTEST_WINDOW_S", 0.1)
    device = phone(more=battery(tmp_path, TELLS_NOW))

    (profile,) = edgesparse.profile(artifact, seconds=1.2, meter="android", on=f"adb:{device.serial}").profiles.values()

    assert profile.energy.gross.value is None and "readings in a window" in profile.energy.gross.how


def test_a_phone_that_charges_is_refused_before_it_runs(phone, artifact, tmp_path):
    charging = TELLS_NOW.replace("AC powered: false", "AC powered: true")
    device = phone(more=battery(tmp_path, charging))

    with pytest.raises(MeasureError, match=r"its battery is not what feeds it \(powered by AC\): pull the cable"):
        edgesparse.profile(artifact, seconds=1, meter="android", on=f"adb:{device.serial}")
