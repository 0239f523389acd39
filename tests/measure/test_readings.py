"""Logs of external meters are read as their programs write them, and their energy is that of the curve."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edgesparse.errors import MeasureError
from edgesparse.measure import readings
from edgesparse.measure.readings import read_log, read_log_until

BEGIN = 1_790_000_000  # seconds since 1970

LOGS = {
    "power": "time,power_w\n{0},2.0\n{1},4.0\n",
    "FNIRSI": "timestamp sample_in_packet voltage_V current_A energy_Ws\n{0} 0 5.0 0.4 0\n{1} 1 5.0 0.8 3\n",
    "milliwatts": "Time (s);Power (mW)\n{0};2000\n{1};4000\n",
    "volts first": "Voltage [V]\tCurrent [mA]\tTime\n5\t400\t{0}\n5\t800\t{1}\n",
    "comment": "# meter 1\ntime,power_w,temp_c\n{0},2,30\n\n{1},4,31\n",
    "unfinished": "time,power_w\n{0},2\n{1},4\n17900",
}


@pytest.mark.parametrize("name", LOGS)
def test_energy_is_that_of_the_curve(name, tmp_path):
    (tmp_path / "log.csv").write_text(LOGS[name].format(BEGIN, BEGIN + 1))

    log = read_log(tmp_path / "log.csv")

    assert log.watts.tolist() == [2.0, 4.0]
    assert log.joules(BEGIN, BEGIN + 1) == (pytest.approx(3.0), 0)
    assert log.joules(BEGIN + 0.25, BEGIN + 0.75) == (pytest.approx(1.5), 0)
    assert math.isnan(log.joules(BEGIN - 1, BEGIN + 1)[0]) and math.isnan(log.joules(BEGIN, BEGIN + 2)[0])


@pytest.mark.parametrize("times", [(1e3, 1), (1e6, 1), (1e9, 1)])
def test_the_unit_of_time_is_told_from_its_size(times, tmp_path):
    scale, _ = times
    (tmp_path / "log.csv").write_text(f"time,power\n{BEGIN * scale:.0f},1\n{(BEGIN + 2) * scale:.0f},1\n")

    assert read_log(tmp_path / "log.csv").joules(BEGIN, BEGIN + 2)[0] == pytest.approx(2.0, rel=1e-5)


def test_times_may_be_dates(tmp_path):
    (tmp_path / "log.csv").write_text("date,power\n2026-09-21T12:00:00+02:00,1\n2026-09-21T10:00:04Z,1\n")

    assert np.diff(read_log(tmp_path / "log.csv").times_s).tolist() == [4.0]


def test_readings_between_two_times_are_counted(tmp_path):
    lines = [f"{BEGIN + at / 10},3" for at in range(100)]
    (tmp_path / "log.csv").write_text("\n".join(["time,power", *reversed(lines), ""]))

    assert read_log(tmp_path / "log.csv").joules(BEGIN + 1.05, BEGIN + 3.05) == (pytest.approx(6.0), 20)


WRONG = {
    "": "holds no readings",
    "time,power\n": "holds no readings",
    "a,b\n1,2\n": "has columns a, b, expected time, and power_w or voltage_v and current_a",
    "time,voltage_v\n1,2\n": "has columns time, voltage_v, expected",
    "time,power\n1,x\n": "line 2: got the power 'x', expected a number with a point, such as 5.02",
    "time,power\nnan,1\n1,1\n": "line 2: got the time 'nan', expected seconds",
    "time,power\n-1e300,1\n": "line 2: got the time '-1e300', expected seconds",
    "# a\n\ntime,power\n1,inf\n": "line 4: got the power 'inf', expected a number",
    "time;power\n1796098347,035;1\n": "line 2: got the time '1796098347,035', expected seconds",
    'time,power\n1,"' + "9" * 200_000 + "\n": "line 2: got the power",
    "time,power\nnoon,1\n": "line 2: got the time 'noon', expected seconds or milliseconds since 1970, or ISO 8601",
}


@pytest.mark.parametrize("content", WRONG)
def test_what_is_no_log_is_refused(content, tmp_path):
    (tmp_path / "log.csv").write_text(content)

    with pytest.raises(MeasureError) as failure:
        read_log(tmp_path / "log.csv")

    assert str(failure.value) == f"{tmp_path}/log.csv: {WRONG[content]}" or WRONG[content] in str(failure.value)


def test_readings_of_one_time_count_once(tmp_path):
    (tmp_path / "log.csv").write_text("time,power\n" + f"{BEGIN},5\n" * 25 + f"{BEGIN + 3},5\n" * 25)

    assert read_log(tmp_path / "log.csv").joules(BEGIN, BEGIN + 3) == (15.0, 0)


def test_a_log_of_another_day_is_refused_before_anything_is_measured(tmp_path):
    (tmp_path / "log.csv").write_text("time,power\n0,1\n98,1\n")

    with pytest.raises(MeasureError, match="expected a log of now, by the wall clock"):
        readings.require_clock(tmp_path / "log.csv")


def test_a_log_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MeasureError, match="log.csv: No such file"):
        read_log(tmp_path / "log.csv")


def test_a_log_that_is_being_written_is_waited_for(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("time,power\n1,1\n2,1\n")

    def append():
        time.sleep(0.3)
        with path.open("a") as file:
            file.write("12,1\n")

    writer = threading.Thread(target=append)
    writer.start()
    log = read_log_until(path, 10.0)
    writer.join()

    assert log.joules(1, 12)[0] == 11.0


def test_a_log_that_ends_before_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(readings, "PATIENCE_S", 0.0)
    (tmp_path / "log.csv").write_text(f"time,power\n{BEGIN},1\n{BEGIN + 1},1\n")

    with pytest.raises(MeasureError, match="9 s before the measurement did; start the meter's log before"):
        read_log_until(Path(tmp_path / "log.csv"), BEGIN + 10.0)
