"""What few runs cannot tell is not told; how opening is timed; what there is in place of a meter that is not."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from edgesparse_runtime import Model, _profiler

from runtime import build
from runtime.tests import trees
from runtime.tests.conftest import run_program
from runtime.tests.test_profile import measured


@pytest.fixture
def model(saved):
    path, x = saved
    with Model(path) as opened:
        opened.inputs_given = [x]
        yield opened


@pytest.mark.parametrize(
    ("share", "least"), [(0.99, 100), (0.9, 10), (0.1, 10), (0.999, 1000), (0.5, 1), (0, 1), (1, 1)]
)
def test_a_percentile_needs_as_many_runs_as_have_one_beyond_it(share, least):
    assert _profiler.least_runs(share) == least


def test_percentiles_of_few_runs_say_so(model):
    profile = model.profile(*model.inputs_given, seconds=0.6, rate_hz=50.0)

    assert 10 <= profile.runs < 100
    assert profile.p99.value is None and profile.p99.origin == "unavailable"
    assert profile.p99.how == f"p99 of {profile.runs} runs: too few, at least 100"
    assert profile.p90.value <= profile.worst.value and profile.p90.low is None and "no interval" in profile.p90.how
    assert profile.median.low <= profile.median.value <= profile.median.high


def test_slots_with_few_runs_have_no_band(model, tmp_path):
    told = measured(model, tmp_path, seconds=0.6, rate_hz=100.0)

    busy = [slot for slot in told["slots"] if slot["runs"]]
    assert busy and all(slot["p10_ns"] is None and slot["p90_ns"] is None and slot["median_ns"] for slot in busy)


@pytest.mark.parametrize("options", [["--profile", "--seconds", "0.4", "--rate", "50"], ["--repeat", "9"]])
def test_esrun_says_of_what_there_are_too_few(options, host, saved, tmp_path):
    path, x = saved
    np.save(tmp_path / "x.npy", x)

    result = run_program(build.esrun(host), path, "--input", tmp_path / "x.npy", *options)

    (line,) = [line for line in result.stdout.splitlines() if line.startswith("latency:")]
    assert re.search(r"p99 of \d+ runs: too few, at least 100|p90 of 9 runs: too few, at least 10", line), line
    assert "nan" not in line and "median" in line


def test_the_first_run_is_the_first_after_opening_whatever_is_asked_for(host, saved, tmp_path):
    path, x = saved
    np.save(tmp_path / "x.npy", x)

    options = ["--repeat", "3", "--profile", "--seconds", "0.1"]
    result = run_program(build.esrun(host), path, "--input", tmp_path / "x.npy", *options)

    told = re.findall(r"open ([\d.]+) ms, first run ([\d.]+) ms", result.stdout)
    assert len(told) == 2 and told[0] == told[1]


SLOW_LIBRARY = """
import sys, time
from edgesparse_runtime import Model, _library
load = _library.load
def slowly(pattern):
    time.sleep(0.5)
    return load(pattern)
_library.load = slowly
model = Model(sys.argv[1])
print(model._opened_ns)
"""


def test_loading_the_library_is_no_part_of_opening(saved):
    result = run_program(sys.executable, "-c", SLOW_LIBRARY, saved[0])

    assert 0 < int(result.stdout) < 0.25e9, result.stderr


OTHERS = trees.hwmon(0, {"name": "acpitz", "temp1_input": 40000}) | trees.hwmon(1, {"name": "nvme", "temp1_input": 1})
SUPPLY = trees.hwmon(5, {"name": "max34440", "power1_input": 2_000_000})
AWAY = "an external meter would make it available"


@pytest.mark.parametrize(
    ("files", "meter", "words"),
    [
        (
            OTHERS,
            "hwmon:ina226",
            "meter: got 'hwmon:ina226', but no device of hwmon measures power here (there is acpitz, nvme)",
        ),
        (OTHERS, "hwmon:acpitz", "but no device of hwmon measures power here"),
        ({}, "hwmon:", f"meter: got 'hwmon:', but no device of hwmon measures power here; {AWAY}"),
        (OTHERS | SUPPLY, "hwmon", "meter: got 'hwmon', expected hwmon:NAME with one of max34440"),
        (SUPPLY, "hwmon:max3444x", "expected hwmon:NAME with one of max34440"),
        ({}, "rapl", f"meter rapl: there is none here, nor another; {AWAY}"),
        (trees.BATTERY, "pmic", "meter pmic: there is none here, but battery"),
    ],
)
def test_a_meter_that_is_not_there_says_what_is(files, meter, words, model, tmp_path):
    with pytest.raises(ValueError) as failure:
        measured(model, trees.made(tmp_path, files), meter, seconds=0.05)

    assert words in str(failure.value) and "\n" not in str(failure.value)
