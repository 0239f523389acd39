"""A device over adb: the real client and server, and a fake of the daemon on the device. ONNX Runtime judges."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import edgesparse
from edgesparse.devices.remote import Remote
from edgesparse.errors import MeasureError
from tests.devices.boards import expect_right, feeds


def test_an_artifact_runs_there_is_timed_verified_and_removed(phone, artifact, model, command, tmp_path):
    on, given = f"adb:{phone().serial}", feeds(artifact)

    expect_right(edgesparse.run(artifact, given, on=on), model, given)
    measured = edgesparse.bench(artifact, inputs=given, on=on, seconds=0)
    assert measured.contenders[0].latency.runs > 0 and f"on {on}: phone 9, 2 x unnamed core" in str(measured)
    assert edgesparse.verify(artifact, model, on=on, layers=False).agrees

    folder = tmp_path / "phone's/edgesparse"
    assert len(list(folder.glob("*.esp"))) == 1
    assert command("run", artifact, "--on", on, "--clean").returncode == 0
    assert not folder.exists()


def test_the_only_device_needs_no_serial(phone, artifact, model):
    given = feeds(artifact)
    device = phone()

    expect_right(edgesparse.run(artifact, given, on="adb:"), model, given)

    assert [re.sub(r",TERM=[^,]*", "", service) for service in device.services] == ["shell,v2,raw:sh"]


def refused(artifact: Path, on: str) -> str:
    with pytest.raises(MeasureError) as err:
        edgesparse.run(artifact, on=on)
    assert "\n" not in str(err.value)
    return str(err.value)


def test_without_a_device_or_with_two_the_message_says_so(phone, adb, artifact):
    assert refused(artifact, "adb:") == "adb: no devices/emulators found"
    assert refused(artifact, "adb:nobody") == "adb:nobody: device 'nobody' not found"

    phone("one")
    other = phone("other")

    assert refused(artifact, "adb:") == "adb: more than one device/emulator"
    assert edgesparse.detect(f"adb:{other.serial}").device.model == "other 9"


def test_a_device_that_goes_in_the_middle_is_one_line(phone, artifact):
    device, given = phone(), feeds(artifact)

    with (
        pytest.raises(MeasureError, match=re.escape(device.serial)) as err,
        Remote(f"adb:{device.serial}").open(artifact) as session,
    ):
        session.run(given)
        device.close()
        session.run(given)

    assert "\n" not in str(err.value)


def test_a_device_that_goes_while_it_is_copied_to_is_one_line(phone, artifact):
    device = phone()

    def told(what: str, share: float) -> None:
        device.close()

    with (
        pytest.raises(MeasureError, match=re.escape(device.serial)),
        Remote(f"adb:{device.serial}", told).open(artifact),
    ):
        pass


def test_a_device_that_is_full_is_one_line(phone, artifact, tmp_path):
    device = phone()
    (tmp_path / "phone's/edgesparse").write_text("a file where the folder goes")

    assert "exists" in refused(artifact, f"adb:{device.serial}")
