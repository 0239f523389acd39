"""Whatever the bytes, opening them gives a status and a message, under ASan and UBSan."""

from __future__ import annotations

import re

import pytest

from edgesparse.package import records
from edgesparse.package.records import SectionKind
from edgesparse.package.writer import serialize
from runtime.tests import hostile, samples
from runtime.tests.conftest import run_program
from runtime.tests.hostile import Editor

CASES = hostile.cases()


@pytest.fixture(scope="module")
def artifact(host):
    program = samples.sparse_model(host).program
    return serialize([program], {"name": "sample"}, report=b"report", answers=[samples.some_answers(program)])


@pytest.fixture
def open_bytes(probe, tmp_path):
    def open_artifact(content: bytes) -> tuple[str, str]:
        path = tmp_path / "model.esp"
        path.write_bytes(content)
        result = run_program(probe, "open", path)
        assert result.returncode == 0, result.stderr
        status, message = result.stdout.rstrip("\n").split("\t")
        return status, message

    return open_artifact


def counts_of(result) -> dict[str, int]:
    assert result.returncode == 0, result.stderr
    return {name: int(count) for name, count in (line.split("\t") for line in result.stdout.splitlines())}


def test_sound_artifact_opens(open_bytes, artifact):
    assert open_bytes(artifact) == ("ES_OK", "")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_damage_is_refused_with_its_reason(open_bytes, artifact, case):
    status, message = open_bytes(case.apply(artifact))

    assert (status, bool(re.search(case.message, message))) == (case.status, True), message


def test_newer_minor_version_is_read(open_bytes, artifact):
    editor = Editor(artifact)
    editor.put(10, "H", 7)
    editor.rehash()

    assert open_bytes(bytes(editor.data))[0] == "ES_OK"


def test_unknown_section_that_is_not_required_is_ignored(open_bytes, artifact):
    editor = Editor(artifact)
    editor.put(editor.section(SectionKind.REPORT), "I", 99)
    editor.rehash()

    assert open_bytes(bytes(editor.data))[0] == "ES_OK"


@pytest.mark.parametrize(
    ("path", "message"),
    [("/nonexistent/model.esp", "no such file"), ("/", "is a directory"), ("/dev/null", "is not a regular file")],
)
def test_path_that_is_no_file_is_refused(probe, path, message):
    result = run_program(probe, "open", path)

    assert result.stdout == f"ES_ERR_IO\t{path}: {message}{', expected a file' * (path == '/')}\n"


@pytest.mark.parametrize("mode", ["plain", "rehash"])
@pytest.mark.parametrize("part", ["tables", "manifest", "plan"])
def test_every_bit_flip_is_survived(probe, artifact, tmp_path, part, mode):
    """Without fixed checksums no flip passes, but in what checksums do not cover: nothing here."""
    path = tmp_path / "model.esp"
    path.write_bytes(artifact)
    editor = Editor(artifact)
    begin = 0 if part == "tables" else editor.content(SectionKind[part.upper()])
    size = records.PREAMBLE.size + len(SectionKind) * records.SECTION.size
    if part != "tables":
        size = int.from_bytes(editor.data[(at := editor.section(SectionKind[part.upper()]) + 16) : at + 8], "little")

    counts = counts_of(run_program(probe, "flip", path, begin, begin + size, mode))

    assert sum(counts.values()) == size * 8
    assert mode == "rehash" or "ES_OK" not in counts


def test_every_truncation_is_refused(probe, artifact, tmp_path):
    path = tmp_path / "model.esp"
    path.write_bytes(artifact)
    editor = Editor(artifact)
    edges = {records.PREAMBLE.size, records.PREAMBLE.size + len(SectionKind) * records.SECTION.size, len(artifact)}
    for kind in SectionKind:
        offset, size = (int.from_bytes(editor.data[editor.section(kind) + at :][:8], "little") for at in (8, 16))
        edges |= {offset, offset + size}
    around = {edge + step for edge in edges for step in (-1, 0, 1)}
    sizes = sorted(size for size in around | set(range(0, len(artifact), 997)) if size < len(artifact))

    counts = counts_of(run_program(probe, "cut", path, *sizes))

    assert counts == {"ES_ERR_TRUNCATED": len(sizes)}
