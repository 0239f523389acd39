"""The profiler reads meters as kernels show them, and its figures are those of what it read."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import edgesparse_runtime
import numpy as np
import pytest
from edgesparse_runtime import EdgesparseRuntimeError, Model, _profiler

from edgesparse.package.writer import write
from runtime import build
from runtime.tests import samples, trees
from runtime.tests.conftest import in_child, sanitized

WINDOW_S = 0.5
SECONDS = 6 * WINDOW_S


@pytest.fixture(scope="module")
def model(saved):
    path, x = saved
    with Model(path) as opened:
        opened.inputs_given = [x]
        yield opened


def measured(model: Model, root: Path, meter: str = "auto", seconds: float = SECONDS, go_on=None, **options) -> dict:
    """What the profiler tells of a model on a board whose files lie below `root`."""
    given = {"shortest_window_s": min(WINDOW_S, seconds / 6), **options}
    wanted = _profiler.Options(seconds=seconds, meter=meter.encode(), root=str(root).encode(), **given)
    arranged = edgesparse_runtime.arrange(tuple(model.inputs_given), model.inputs)
    return _profiler.told(model._measure(arranged, wanted, go_on))


def weighed(*given, **options) -> dict:
    """The same, once more where other programs let the meter be read too seldom."""
    for _ in range(3):
        told = measured(*given, **options)
        if "readings" not in told["energy_how"]:
            break
    return told


BOARDS = {
    "ina226": (trees.INA226, "hwmon", 4.0, ["ina226 1"]),
    "orin": (trees.JETSON_ORIN, "jetson", 7.0, ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]),
    "nano": (trees.JETSON_NANO, "jetson", 2.5, ["POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"]),
}


@pytest.mark.parametrize("board", BOARDS)
def test_steady_power_gives_the_energy_of_a_run(board, model, tmp_path):
    files, meter, expected_w, rails = BOARDS[board]

    told = weighed(model, trees.made(tmp_path, files), sample_hz=100.0)

    assert told["meter"] == meter, told["energy_how"]
    assert [rail["name"] for rail in told["rails"]] == rails
    assert [told["mean_w"][0], told["idle_w"][0]] == pytest.approx([expected_w] * 2, rel=1e-3), told["energy_how"]
    busy = [window for window in told["windows"] if window["busy"]]
    a_run = [expected_w * (w["end_ns"] - w["begin_ns"]) / 1e9 / w["runs"] for w in busy]
    value, low, high = told["gross_j"]
    assert min(a_run) * 0.999 < value < max(a_run) * 1.001 and low <= value <= high
    assert low <= np.median(a_run) <= high
    assert told["net_j"][1] <= 0 <= told["net_j"][2]


def test_shunts_are_told_as_the_driver_knows_them(model, tmp_path):
    told = measured(model, trees.made(tmp_path, trees.JETSON_ORIN), seconds=0.05)

    assert [rail["shunt_ohm"] for rail in told["rails"]] == pytest.approx([0.005] * 3)


@pytest.mark.parametrize("around", [False, True])
def test_counter_of_energy_is_read_across_its_end(around, model, tmp_path):
    range_uj = 40_000_000
    start = range_uj - 6_000_000 if around else 5_000_000
    trees.made(tmp_path, trees.rapl(start, start, range_uj))
    package = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
    memory = tmp_path / "sys/class/powercap/intel-rapl:0:1/energy_uj"
    stop, begin = threading.Event(), time.monotonic()

    def overwrite():  # in place: the meter keeps its files open
        while not stop.wait(0.001):
            passed_uj = (time.monotonic() - begin) * 1e6
            for file, power in ((package, 3), (memory, 1)):
                with file.open("r+") as opened:
                    opened.write(f"{int(start + power * passed_uj) % range_uj:020d}\n")

    counter = threading.Thread(target=overwrite)
    counter.start()
    told = weighed(model, tmp_path, "rapl", sample_hz=100.0)
    stop.set()
    counter.join()

    assert [rail["name"] for rail in told["rails"]] == ["package-0", "dram"]
    assert told["mean_w"][0] == pytest.approx(4.0, rel=0.02), told["energy_how"]


def test_energy_is_weighed_as_by_hand():
    joules = [2.0, 2.2, 1.8, 6.0, 6.6, 6.3, 5.9, 6.2, 6.1, 2.1, 1.9, 2.0]
    windows = [
        {"busy": 3 <= at < 9, "samples": 100, "begin_ns": at * 10**9, "end_ns": (at + 1) * 10**9}
        | {"begin_unix_ns": 0, "end_unix_ns": 0, "runs": 20 if 3 <= at < 9 else 0, "joules": energy, "doubt_j": 0.1}
        for at, energy in enumerate(joules)
    ]

    told = _profiler.weighed(windows, "scales", 1.0)

    assert told["idle_w"] == pytest.approx([2.0, 1.7, 2.3]) and told["mean_w"] == pytest.approx([6.15, 5.8, 6.7])
    assert told["gross_j"] == pytest.approx([6.15 / 20, 5.8 / 20, 6.7 / 20])
    assert told["net_j"] == pytest.approx([4.15 / 20, (3.9 - 0.4) / 20, (4.6 + 0.4) / 20])


FEW = {"samples": 19, "runs": 9, "joules": None}


@pytest.mark.parametrize("name", FEW)
def test_too_little_in_a_window_makes_no_figure(name):
    windows = [
        {"busy": 3 <= at < 9, "samples": 20, "begin_ns": at * 10**10, "end_ns": (at + 1) * 10**10, "runs": 10}
        | {"begin_unix_ns": 0, "end_unix_ns": 0, "joules": 1.0, "doubt_j": 0.0}
        for at in range(12)
    ]
    assert _profiler.weighed(windows, "scales")["gross_j"][0] == pytest.approx(0.1)

    windows[6] |= {name: FEW[name]}
    told = _profiler.weighed(windows, "scales")

    assert told["gross_j"] == [None] * 3 and "remedy: measure for longer" in told["energy_how"]


NOISY = """
import os, random, sys, time
path, seed = sys.argv[1], int(sys.argv[2])
random.seed(seed)
file = os.open(path, os.O_WRONLY)
while True:
    watts = max(random.gauss(4.0, 0.2), 0.1)
    os.pwrite(file, f"{int(watts * 1e6):09d}\\n".encode(), 0)
    time.sleep(0.005)
"""


def measured_beside_noise(model_path: Path, folder: Path, seed: int) -> dict:
    """What is told of a board that draws 4 W, give or take."""
    root = trees.made(folder, trees.INA226)
    meter = subprocess.Popen([sys.executable, "-c", NOISY, root / trees.INA226_POWER, str(seed)])
    try:
        time.sleep(0.2)
        with Model(model_path) as model:
            model.inputs_given = [np.zeros(tensor.shape, tensor.dtype) for tensor in model.inputs]
            return weighed(model, root, rate_hz=40.0)
    finally:
        meter.kill()
        meter.wait()


@pytest.mark.slow(part="soak")
def test_interval_of_energy_holds_the_truth_in_nine_of_ten_measurements(host, tmp_path):
    write([samples.sparse_model(host).program], {}, tmp_path / "model.esp")

    def measure(seed: int) -> dict:
        return measured_beside_noise(tmp_path / "model.esp", tmp_path / str(seed), seed)

    with ThreadPoolExecutor(6) as pool:
        tellings = [*pool.map(measure, range(100))]

    errors, held, idle = [], 0, 0
    for told in tellings:
        busy = [window for window in told["windows"] if window["busy"]]
        truth = 4.0 * np.median([(w["end_ns"] - w["begin_ns"]) / 1e9 / w["runs"] for w in busy])
        value, low, high = told["gross_j"]
        errors.append(abs(value / truth - 1))
        held += low <= truth <= high
        idle += told["net_j"][1] <= 0 <= told["net_j"][2]
    assert max(errors) <= 0.01, sorted(errors)[-20:]
    assert held >= 90 and idle >= 90


def test_a_counter_that_only_root_may_read_says_so(model):
    folder = Path(tempfile.mkdtemp())  # those of pytest are closed to others
    try:
        folder.chmod(0o755)
        root = trees.made(folder, trees.rapl())
        counter = root / "sys/class/powercap/intel-rapl:0/energy_uj"
        counter.chmod(0o400 if os.getuid() == 0 else 0)

        def check() -> None:
            if os.getuid() == 0:
                os.setuid(65534)
            with Model(artifact) as mine:
                mine.inputs_given = model.inputs_given
                told = measured(mine, root, seconds=0.05)["energy_how"]
                assert told == f"{counter}: may not be read; remedy: run as root, or let everybody read it (chmod a+r)"

        artifact = shutil.copy(model._name, folder / "model.esp")
        assert in_child(check) == 0
    finally:
        shutil.rmtree(folder)


LABELS = {  # of rails of 10 W, 0.5 W, and what the board takes
    ("VDD_MAIN", "VDD_INT"): 10.5,
    ("VDD_MAIN", "SUBSYSTEM_CAM"): 10.5,
    ("VDD_IN", "VDD_CPU"): 10.0,
    ("CPU", "Total"): 0.5,
}


@pytest.mark.parametrize("labels", LABELS)
def test_the_rail_that_feeds_all_is_told_by_the_last_word_of_its_label(labels, model, tmp_path):
    first, second = labels
    board = {"name": "ina3221", "in1_label": first, "in1_input": 5000, "curr1_input": 2000, "in2_label": second}
    board |= {"in2_input": 5000, "curr2_input": 100, "in4_input": 20, "curr4_input": 2100}

    told = weighed(model, trees.made(tmp_path, trees.hwmon(0, board)), sample_hz=100.0, seconds=1.8)

    assert told["mean_w"][0] == pytest.approx(LABELS[labels], rel=1e-3), told["energy_how"]


def test_more_rails_than_there_is_room_for_make_no_figure(model, tmp_path):
    files = {}
    for number in range(20):
        files |= trees.hwmon(number, {"name": "ina226", "power1_input": 1_000_000})

    assert "more than 16 rails" in measured(model, trees.made(tmp_path, files), seconds=0.05)["energy_how"]


STILL = {
    "frozen": (trees.rapl(), "rapl tells no energy, or less than none"),
    "reversed": (trees.INA226 | {trees.INA226_POWER: -4_000_000}, "hwmon tells no energy, or less than none"),
    "broken": (trees.INA226 | {trees.INA226_POWER: 10**29}, "hwmon gave no readings"),
}


@pytest.mark.parametrize("name", STILL)
def test_a_meter_that_stands_still_makes_no_figure(name, model, tmp_path):
    files, words = STILL[name]

    told = measured(model, trees.made(tmp_path, files), sample_hz=100.0, seconds=1.8)

    assert words in told["energy_how"] and told["gross_j"] == [None] * 3


def test_what_ends_a_profile_comes_out_of_it(model):
    with pytest.raises(ZeroDivisionError):
        model.profile(*model.inputs_given, seconds=100, go_on=lambda share: 1 / 0)


def test_nothing_in_place_of_tensors_is_refused():
    options, profile, error = _profiler.Options(seconds=0.1), _profiler.Profile(), edgesparse_runtime._library.Error()

    status = _profiler.library().es_session_measure(None, None, 1, None, 1, options, profile, error)
    _profiler.library().es_profile_weigh(None, 0.0)

    assert status == 1 and b"inputs or outputs are NULL" in error.message


def test_battery_is_read_only_while_it_gives(model, tmp_path):
    root = trees.made(tmp_path, trees.BATTERY)
    power = root / "sys/class/power_supply/BAT0"

    told = measured(model, root, "battery", sample_hz=100.0)
    (power / "status").write_text("Charging\n")

    assert told["meter"] == "battery" and "readings" in told["energy_how"]
    assert told["gross_j"] == [None] * 3
    with pytest.raises(EdgesparseRuntimeError, match="battery BAT0: is Charging, not discharging: .*unplug it"):
        measured(model, root, "battery", seconds=0.1)
    assert "unplug it" in measured(model, root, seconds=0.1)["energy_how"]


def test_battery_of_a_mouse_is_none_of_the_device(model, tmp_path):
    root = trees.made(tmp_path, trees.BATTERY | {"sys/class/power_supply/BAT0/scope": "Device"})

    assert "nothing here measures power" in measured(model, root, seconds=0.1)["energy_how"]


def test_temperature_clock_and_throttling_are_told(model, tmp_path):
    told = measured(model, trees.made(tmp_path, trees.STATE), seconds=1.6)

    state = told["before"]
    assert state == {"temperature_c": 51.0, "clock_hz": 1.8e9, "governor": "ondemand", "throttled": 0x50005}
    slots = [slot for slot in told["slots"] if slot["temperature_c"] is not None]
    assert len(slots) >= 5 and {slot["temperature_c"] for slot in slots} == {51.0}


def test_nothing_is_known_where_the_system_tells_nothing(model, tmp_path):
    told = measured(model, tmp_path, seconds=0.1)

    assert told["meter"] == "" and told["rails"] == []
    assert told["energy_how"].startswith("nothing here measures power")
    assert [told[name] for name in ("idle_w", "mean_w", "gross_j", "net_j")] == [[None] * 3] * 4
    assert told["before"] == {"temperature_c": None, "clock_hz": None, "governor": "", "throttled": None}


GARBAGE = ["", "\x00" * 50, "nan", "1e9", "9" * 60, "-", "0x12", "12 34", "\u00e9"]


@pytest.mark.parametrize("content", GARBAGE)
def test_files_that_hold_no_number_make_no_figure(content, model, tmp_path):
    files = trees.INA226 | trees.STATE | trees.BATTERY | trees.rapl()
    numbers = [name for name in files if not name.endswith(("/name", "/type", "/status", "_governor"))]
    trees.made(tmp_path, files | dict.fromkeys(numbers, content))

    for meter in ("hwmon", "rapl", "battery"):
        try:
            told = measured(model, tmp_path, meter, seconds=0.1)
        except EdgesparseRuntimeError as err:
            assert meter in str(err)
        else:
            assert told["gross_j"] == [None] * 3 and told["before"]["temperature_c"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seconds": 0}, "seconds: got 0, expected more than 0"),
        ({"seconds": float("nan")}, "seconds: got nan"),
        ({"seconds": 1, "rate_hz": -1}, "rate: got -1 a second"),
        (
            {"seconds": 1, "meter": "volt"},
            "meter: got 'volt', expected auto, none, or one of pmic, jetson, hwmon, rapl, battery",
        ),
        ({"seconds": 1, "meter": "raplx"}, "meter: got 'raplx'"),
        (
            {"seconds": 1, "meter": "hwmon:ina3221"},
            "meter: got 'hwmon:ina3221', expected hwmon:NAME with one of ina226",
        ),
        ({"seconds": 1, "meter": "hwmon:"}, "meter: got 'hwmon:', expected hwmon:NAME with one of ina226"),
        ({"seconds": 1, "meter": "pmic:0"}, "meter: got 'pmic:0', expected auto, none, or one of"),
        ({"seconds": 1, "meter": "pmic"}, "meter pmic: there is none here, but hwmon"),
    ],
)
def test_wrong_options_are_told(options, words, model, tmp_path):
    with pytest.raises(EdgesparseRuntimeError) as failure:
        measured(model, trees.made(tmp_path, trees.INA226), **options)

    assert words in str(failure.value) and "\n" not in str(failure.value)


def test_short_windows_make_no_figure(model, tmp_path):
    told = measured(model, trees.made(tmp_path, trees.INA226), shortest_window_s=10.0)

    too_short = "windows of 0.5 s are too short for a figure, expected 10 s or more; remedy: measure for 60 s"
    assert told["energy_how"] == too_short
    assert told["gross_j"] == [None] * 3 and told["windows"][4]["joules"] > 0


def test_percentiles_are_those_of_the_histogram(tmp_path):
    program = sanitized("profiler.c", "address")
    times = np.concatenate([np.random.default_rng(0).lognormal(13, 1.5, 5000), [1, 63, 64, 255, 256, 257, 1e12, 5e13]])
    times = times.astype(np.uint64)

    result = subprocess.run([program, "histogram"], input="\n".join(map(str, times)), capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    for share, value in zip((0, 0.1, 0.5, 0.9, 0.99), told["at"], strict=True):
        expected = np.sort(times)[max(int(np.ceil(share * len(times))), 1) - 1]
        assert value == pytest.approx(max(expected, 64), rel=0.002)
    assert told["worst"] == times.max()
    edges = [bar[0] for bar in told["bars"]] + [told["bars"][-1][1]]
    assert len(told["bars"]) <= _profiler.BARS and edges == sorted(edges)
    assert [bar[2] for bar in told["bars"]] == np.histogram(np.maximum(times, 64).astype(float), edges)[0].tolist()


ADC = """     3V7_WL_SW_A current(0)=0.00487965A
   3V3_SYS_A current(1)=0.06831510A
   VDD_CORE_A current(7)=0.98400000A
     3V7_WL_SW_V volt(8)=3.69300200V
   3V3_SYS_V volt(9)=3.30911600V
   VDD_CORE_V volt(15)=0.72103080V
   EXT5V_V volt(24)=5.15288000V
   BATT_V volt(25)=0.00390704V
"""


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ADC, {"watts": 0.00487965 * 3.693002 + 0.0683151 * 3.309116 + 0.984 * 0.7210308, "count": 3}),
        ("", {"watts": 0, "count": 0}),
        ('error=1 error_msg="Command not registered"', {"watts": 0, "count": 0}),
        ("A current=1A\n_A =\n  X_A volt\n=\n_V =5", {"watts": 0, "count": 0}),
        ("R_A current(0)=1.5.5A\nR_V volt(1)=2", {"watts": 3.0, "count": 1}),
    ],
)
def test_power_of_a_raspberry_pi_5_is_the_sum_over_its_rails(answer, expected):
    program = sanitized("profiler.c", "address")

    result = subprocess.run([program, "pmic"], input=answer, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["watts"] == pytest.approx(expected["watts"]) and told["count"] == expected["count"]


def test_paced_runs_keep_the_rate_and_count_what_is_missed(model, tmp_path):
    easy = measured(model, tmp_path, seconds=0.5, rate_hz=100.0)
    hard = measured(model, tmp_path, seconds=0.5, rate_hz=1e6)

    assert 40 <= easy["runs"] <= 51
    assert hard["missed"] == pytest.approx(0.5e6, rel=0.02)  # those that ran were late


@pytest.mark.parametrize("rate_hz", [0.0, 0.01])
def test_measurement_ends_when_it_is_told_to(rate_hz, model, tmp_path):
    calls = []

    def stop(share: float) -> bool:
        calls.append(share)
        return len(calls) < 3

    with pytest.raises(EdgesparseRuntimeError, match="ended") as failure:
        measured(model, tmp_path, seconds=3000, rate_hz=rate_hz, go_on=stop)

    assert failure.value.status == "ES_ERR_BUSY" and calls == sorted(calls)


def test_profile_of_the_model_holds_figures_with_their_origin(model):
    profile = model.profile(*model.inputs_given, seconds=0.3, battery_wh=10.0)

    assert profile.schema == 1 and profile.runs > 10 and len(profile.slots) == 60
    assert profile.p10.value <= profile.median.value <= profile.p99.value <= profile.worst.value
    assert profile.median.low <= profile.median.value <= profile.median.high
    assert sum(bar.runs for bar in profile.histogram) == profile.runs == sum(slot.runs for slot in profile.slots)
    assert profile.memory.arena.value == model._info.arena_bytes and profile.memory.peak.value > 1 << 20
    assert len(profile.steps) == 3 and all(step.p10_us <= step.median_us for step in profile.steps)
    assert profile.battery.value is None and profile.missed.origin == "unavailable"


def test_ctypes_mirror_the_header(tmp_path):
    source = tmp_path / "sizes.c"
    names = [name for name, *_ in _profiler.Profile._fields_]
    offsets = "".join(f'printf("%zu\\n", offsetof(es_profile, {name}));' for name in names)
    wanted = [name for name, *_ in _profiler.Options._fields_]
    offsets += "".join(f'printf("%zu\\n", offsetof(es_profile_options, {name}));' for name in wanted)
    source.write_text(
        '#include <stddef.h>\n#include <stdio.h>\n#include "edgesparse_profile.h"\n'
        f'int main(void) {{ {offsets} printf("%zu\\n", sizeof(es_profile)); return 0; }}'
    )
    subprocess.run([*build.zig(), "cc", *build.INCLUDE, source, "-o", tmp_path / "sizes"], check=True)

    told = subprocess.run([tmp_path / "sizes"], capture_output=True, text=True, check=True).stdout.split()

    expected = [getattr(_profiler.Profile, name).offset for name in names]
    expected += [getattr(_profiler.Options, name).offset for name in wanted]
    assert [*map(int, told)] == [*expected, ctypes.sizeof(_profiler.Profile)]
