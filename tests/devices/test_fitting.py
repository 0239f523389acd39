"""What a board cannot run is refused before it is copied there, by the board's own name."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgesparse
from edgesparse.devices.remote import Remote
from edgesparse.errors import MeasureError
from tests.devices import boards
from tests.devices.boards import BOARD, cpuinfo, phone, pi4, plant


@pytest.fixture(scope="module")
def compiled(model, tmp_path_factory):
    """The model for a target, compiled once."""
    made: dict[str, Path] = {}

    def get(target: str) -> Path:
        if target not in made:
            path = tmp_path_factory.mktemp("fitting") / f"{target}.esp"
            made[target] = edgesparse.compile(model, target, path, witness=False).artifact
        return made[target]

    return get


def refused(place, tmp_path, tree: boards.Tree, artifact: Path, machine: str = "aarch64") -> str:
    """Why an artifact is refused, with nothing copied."""
    folder = place(boards.shell(plant(tree, tmp_path / "board"), machine))
    with pytest.raises(MeasureError) as err:
        edgesparse.run(artifact, on=BOARD)
    assert not folder.exists()
    return str(err.value).removeprefix(f"{artifact}: ")


def test_a_feature_that_is_missing_is_named_with_the_core(place, tmp_path, compiled):
    assert refused(place, tmp_path, pi4(), compiled("rpi5")) == (
        "needs dot products and half precision, which pi@board (Cortex-A72) lacks; compile for rpi4 or android-arm64 "
        "or rpi3"
    )


def test_an_artifact_for_another_machine_is_named_so(place, tmp_path, compiled):
    assert refused(place, tmp_path, phone(), compiled("x86-64-v3")).startswith(
        "is for x86_64, and pi@board (Cortex-A77 and Cortex-A55) is aarch64; compile for android-arm64-v82 or "
    )


def test_a_board_that_no_target_is_for_is_told_so(place, tmp_path, compiled):
    tree = {"proc/cpuinfo": "processor : 0\nmodel name : 80486\nflags : fpu\n"}

    assert refused(place, tmp_path, tree, compiled("rpi4"), "x86_64") == (
        "is for aarch64, and pi@board (80486) is x86_64; no built-in target is for that device"
    )


@pytest.mark.parametrize(
    ("machine", "features", "target"),
    [("aarch64", boards.ARMV8, "rpi4-32bit"), ("armv7l", "half thumb neon vfpv3 vfpv4", "rpi4-32bit")],
)
def test_what_a_board_runs_is_not_refused(place, tmp_path, compiled, machine, features, target):
    """It is the program that fails here, after it has been copied."""
    board = plant({"proc/cpuinfo": cpuinfo([0xD08], features)}, tmp_path / "board")
    folder = place(boards.shell(board, machine, emulator="false"))

    with pytest.raises(MeasureError):
        edgesparse.run(compiled(target), on=BOARD)

    assert list(folder.glob("*.esp"))


def test_one_plan_that_fits_is_enough(place, tmp_path, model):
    folder = place(boards.shell(plant(pi4(), tmp_path / "board"), emulator="false"))
    both = edgesparse.compile(model, "rpi5,rpi4", tmp_path / "both.esp", witness=False).artifact

    with pytest.raises(MeasureError):
        edgesparse.run(both, on=BOARD)

    assert list(folder.glob("*.esp"))


def test_detect_reads_a_board_through_its_shell(place, tmp_path, command):
    place(boards.shell(plant(pi4(), tmp_path / "board")))

    shown = command("targets", "detect", "--on", BOARD)

    assert "Raspberry Pi 4 Model B" in shown.stdout and "cores 0-3    Cortex-A72, 600 to 1800 MHz" in shown.stdout
    assert "rpi4; android-arm64, rpi3 would run, too" in shown.stdout
    assert Remote(BOARD).facts().temperature_c == 48.312


def test_a_board_that_is_held_back_is_warned_of(place, tmp_path, artifact, command):
    """The files are a board's; what runs is this machine."""
    tree = {"sys/devices/platform/soc/soc:firmware/get_throttled": "1"}
    place(boards.shell(plant(tree, tmp_path / "board"), '"$(command uname -m)"'))

    done = command("bench", artifact, "--on", BOARD, "--seconds", "0.1")

    assert "held back (undervoltage)" in done.stderr and done.stdout.startswith(f"note: on {BOARD}: held back")
