"""Cores that a user asks for become numbers, and reach the program that runs there."""

from __future__ import annotations

import json
import shlex

import pytest

import edgesparse
from edgesparse.devices import cores, facts
from edgesparse.devices.served import Served
from edgesparse.errors import MeasureError
from tests.devices import boards
from tests.devices.boards import BOARD, phone, pi4, plant


def kinds(tree: boards.Tree) -> tuple[cores.CoreKind, ...]:
    return facts.parse("".join(f"\n==> {name} <==\n{text}" for name, text in tree.items())).cores


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ("big", (4, 5, 6, 7)),
        ("little", (0, 1, 2, 3)),
        ("0-3,5", (0, 1, 2, 3, 5)),
        (" 7 , 2", (7, 2)),
        ("1,1-2", (1, 2)),
    ],
)
def test_cores_are_asked_for_by_size_or_by_number(asked, numbers):
    assert cores.chosen(asked, kinds(phone()), "a phone") == numbers


@pytest.mark.parametrize("asked", ["", "large", "3-1", "-1", "0-", "0,,1", "0-99999", "1 2", "\u0663", "0x1"])
def test_what_names_no_cores_is_refused(asked):
    with pytest.raises(MeasureError, match="expected big, little, or numbers such as 0-3,5"):
        cores.require_cores(asked)


def test_cores_that_a_device_does_not_have_are_refused():
    with pytest.raises(MeasureError, match="cores: got 4, but pi has 0-3"):
        cores.chosen("2-5", kinds(pi4()), "pi")
    with pytest.raises(MeasureError, match="got 'big', but pi has cores of one kind .4 x Cortex-A72.; give their num"):
        cores.chosen("big", kinds(pi4()), "pi")
    assert cores.chosen("2-5", (), "a board that does not tell") == (2, 3, 4, 5)


def test_they_reach_the_program(place, tmp_path, artifact, monkeypatch):
    asked = []
    original = Served._ask
    monkeypatch.setattr(
        Served, "_ask", lambda self, request, *more: asked.append(request) or original(self, request, *more)
    )
    machine = '"$(command uname -m)"'
    place(boards.shell(plant({"proc/cpuinfo": "processor: 0\nprocessor: 1\n"}, tmp_path / "board"), machine))

    edgesparse.run(artifact, on=BOARD, cores="0-1")
    edgesparse.run(artifact, on=BOARD)

    opened = [json.loads(json.dumps(request)) for request in asked if request["do"] == "open"]
    assert [request.get("cores") for request in opened] == [[0, 1], None]


@pytest.mark.parametrize("option", [("--cores", "big"), ("--cool-down", "45C")])
@pytest.mark.parametrize("name", ["run", "bench"])
def test_they_need_a_device(command, artifact, name, option):
    done = command(name, artifact, *option)

    assert done.returncode == 2 and f"{option[0]} needs --on DEVICE" in done.stderr
    with pytest.raises(MeasureError, match="needs a device that is named with on"):
        edgesparse.tune(**{option[0].strip("-").replace("-", "_"): option[1]})


def heats(text: str) -> str:
    """A board whose every look at it finds the next of these temperatures, in degrees; the last stays."""
    lines = (
        'head() { command head "$@"; [ "$1" = -n ] || return',
        f"degrees=({text}); echo '==> sys/class/thermal/thermal_zone0/temp <=='",
        'looked=$(cat "$HEAT" 2> /dev/null || echo 0); echo ${degrees[looked]:-${degrees[-1]}}000',
        'echo $((looked + 1)) > "$HEAT"; }',
    )
    return "\n".join(lines)


@pytest.fixture
def heated(place, tmp_path, monkeypatch):
    """A board with temperatures."""
    monkeypatch.setattr("edgesparse.devices.cooling.INTERVAL_S", 0.01)
    machine = '"$(command uname -m)"'

    def put(degrees: str) -> None:
        more = f"export HEAT={shlex.quote(str(tmp_path / 'looked'))}\n{heats(degrees)}" if degrees else ""
        place(boards.shell(plant({}, tmp_path / "board"), machine, more=more))

    return put


def test_a_hot_device_is_waited_for(heated, artifact):
    heated("60 55 50 45")  # 60 when it is asked what it is
    told = []

    measured = edgesparse.bench(
        artifact, on=BOARD, seconds=0, cool_down="45C", progress=lambda what, share=None: told.append((what, share))
    )

    assert measured.device.temperature_c == 45.0
    assert [share for what, share in told if what == f"waiting for {BOARD} to cool to 45 C"] == [0.0, 0.5]


def test_a_device_that_stays_hot_or_tells_nothing_is_one_line(heated, artifact, monkeypatch):
    monkeypatch.setattr("edgesparse.devices.cooling.PATIENCE_S", 0.05)

    heated("71")
    with pytest.raises(MeasureError, match="pi@board: is 71.0 C hot .unnamed sensor. after 0 s, expected 45 C or less"):
        edgesparse.run(artifact, on=BOARD, cool_down=45)
    heated("")
    with pytest.raises(MeasureError, match="pi@board: tells no temperature; leave cool-down out"):
        edgesparse.run(artifact, on=BOARD, cool_down=45.0)


@pytest.mark.parametrize("cool_down", ["", "cold", "-5C", "0", "nan", "1e2", "45F", "999C", True])
def test_what_is_no_temperature_is_refused(artifact, cool_down):
    with pytest.raises(MeasureError, match="expected degrees Celsius, such as 45C"):
        edgesparse.run(artifact, on=BOARD, cool_down=cool_down)
