"""What was written is read back; what is damaged is refused in one line, whatever the damage."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.errors import PackageError
from edgesparse.package import records
from edgesparse.package.reader import parse, read
from edgesparse.package.writer import serialize, write
from runtime.build import host_platform
from runtime.tests import hostile, samples

CASES = hostile.cases()


def test_program_manifest_and_report_come_back(program, tmp_path):
    write([program], {"größe": [1, 2.5, None]}, tmp_path / "model.esp", report=b"why")

    artifact = read(tmp_path / "model.esp")

    assert artifact.programs == (program,)
    assert artifact.manifest == {"größe": [1, 2.5, None]}
    assert (artifact.report, artifact.version) == (b"why", (2, 0))


def test_writing_what_was_read_gives_the_same_bytes(program):
    data = serialize([program], {"a": 1}, b"report", [samples.some_answers(program)])

    artifact = parse(data)

    assert serialize(artifact.programs, artifact.manifest, artifact.report, artifact.answers) == data
    assert artifact.version == (2, 1)


@pytest.fixture(scope="module")
def sample():
    program = samples.sparse_model(host_platform()).program
    return serialize([program], {"name": "sample"}, b"report", [samples.some_answers(program)])


# What depends on the machine: an artifact for another CPU can be inspected here.
MACHINE_CASES = {"feature-absent"}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_the_runtime_refuses_is_refused(sample, case):
    damaged = case.apply(sample)

    if case.name in MACHINE_CASES:
        parse(damaged)
    else:
        with pytest.raises(PackageError):
            parse(damaged)


def test_any_changed_byte_is_refused(program):
    data = serialize([program], {"a": 1})
    gaps = [at for at in range(len(data)) if data[at]]
    rng = np.random.default_rng(0)

    for at in [*range(records.PREAMBLE.size), *rng.choice(gaps, 200)]:
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(8))

        with pytest.raises(PackageError):
            parse(bytes(damaged))


def test_random_damage_with_matching_checksums_never_crashes(sample):
    """The reader either returns a program that passes every check, or raises PackageError."""
    rng = np.random.default_rng(0)
    editor = hostile.Editor(sample)
    tables = [*range(records.PREAMBLE.size + 6 * records.SECTION.size), *range(editor.plan, editor.strings + 64)]

    outcomes = set()
    for at in rng.choice(tables, 1500):
        editor = hostile.Editor(sample)
        editor.data[at] = int(rng.integers(256))
        editor.rehash()
        try:
            parse(bytes(editor.data))
            outcomes.add("read")
        except PackageError as err:
            assert "\n" not in str(err)
            outcomes.add("refused")

    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (b"[1]", "not a JSON object"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100000, "not JSON"),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", "nested more than 64 deep"),
    ],
)
def test_manifest_that_is_no_json_object_is_refused(program, manifest, message):
    from edgesparse.package import writer
    from edgesparse.package.records import SectionKind

    sections = [(SectionKind.MANIFEST, manifest), (SectionKind.PLAN, writer._encode_plan(program, code_section=2))]
    sections += [(SectionKind.CODE, program.images[0].code), (SectionKind.INDICES, program.indices)]
    sections += [(SectionKind.WEIGHTS, program.weights)]

    with pytest.raises(PackageError, match=message):
        parse(b"".join(writer._container(sections)))


@pytest.mark.parametrize(("path", "message"), [("/nonexistent.esp", "No such file"), ("/", "Is a directory")])
def test_path_that_cannot_be_read_is_one_line(path, message):
    with pytest.raises(PackageError, match=f"^{path}: cannot be read: {message}"):
        read(path)
