"""What is written is complete, deterministic, and nothing that a reader would refuse."""

from __future__ import annotations

import dataclasses
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgesparse.errors import PackageError
from edgesparse.package import records, writer
from edgesparse.package.writer import serialize, write
from edgesparse.program import Arg, Bound, IndexArray, IndexKind, Space, Step, TensorSpec

from .conftest import make_program


def test_bytes_do_not_depend_on_the_order_of_the_manifest(program):
    assert serialize([program], {"a": 1, "b": {"c": 2, "d": 3}}) == serialize(
        [program], {"b": {"d": 3, "c": 2}, "a": 1}
    )


def test_file_holds_the_serialized_bytes(program, tmp_path):
    write([program], {"name": "m"}, tmp_path / "model.esp", report=b"why")

    assert (tmp_path / "model.esp").read_bytes() == serialize([program], {"name": "m"}, report=b"why")
    assert os.listdir(tmp_path) == ["model.esp"]


def test_sections_are_page_aligned_and_the_gaps_are_zero(program):
    data = serialize([program], {"name": "m"}, report=b"why")
    count = int.from_bytes(data[12:16], "little")

    end = records.PREAMBLE.size + count * records.SECTION.size
    for record in records.SECTION.iter_unpack(data[records.PREAMBLE.size : end]):
        offset, size = record[2:4]
        assert offset % records.SECTION_ALIGN == 0
        assert not any(data[end:offset])
        end = offset + size
    assert (count, end) == (6, len(data))


def test_artifact_without_weights_or_report_has_no_section_for_them():
    program = make_program(weights=b"", indices=b"", arrays=(), steps=())

    assert int.from_bytes(serialize([program], {})[12:16], "little") == 3


def test_existing_file_is_replaced_and_what_was_mapped_stays(program, tmp_path):
    path = tmp_path / "model.esp"
    path.write_bytes(b"before")
    with path.open("rb") as old:
        write([program], {}, path)

        assert old.read() == b"before"
    assert path.read_bytes() == serialize([program], {})


def test_permissions_follow_the_umask(program, tmp_path):
    write([program], {}, tmp_path / "model.esp")
    (tmp_path / "plain").touch()

    assert (tmp_path / "model.esp").stat().st_mode == (tmp_path / "plain").stat().st_mode


def _array(values, kind, limit, dtype="<i4", **bound):
    """One array of indices, which a step takes."""
    data = np.array(values, dtype).tobytes()
    arrays = (IndexArray(0, len(data), Bound(kind, np.dtype(dtype).name, limit, **bound)),)
    return {"indices": data, "arrays": arrays} | _args(Arg(Space.INDICES, 0, len(data)))


def _steps(**changes):
    return {"steps": (dataclasses.replace(Step("layer", "Conv", "es_conv", 4, 7, ()), **changes),)}


def _args(*args):
    return _steps(args=args)


def _x(**changes):
    return {"inputs": (dataclasses.replace(TensorSpec("x", "float32", (3,), 64), **changes),)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": {"isa": "mips"}}, "isa 'mips' is unknown, expected one of x86_64, aarch64, armv7"),
        ({"image": {"cpu_features": ("neon", "sve9")}}, "CPU features sve9 are unknown"),
        ({"engine": {"arena_bytes": 2**34 + 64}}, "bytes of arena, expected at most"),
        ({"engine": {"scratch_bytes": -1}}, "has -1 bytes of scratch"),
        ({"image": {"code": b""}}, "the program has no code"),
        ({"image": {"engine": 1}}, "for engine 1, which the program does not have"),
        ({"image": {"core": 2**32}}, "for core 4294967296"),
        ({"engines": ()}, "needs 0 engines, expected one"),
        ({"images": ()}, "has 0 images of code, expected one"),
        (_steps(image=1), "its kernel is in image 1, the program has 1"),
        (_x(name="a\0b"), "holds a NUL character"),
        (_x(name="\ud800"), "is not valid Unicode"),
        (_x(dtype="complex64"), "input 'x': has element type 'complex64', expected one of float32"),
        (_x(shape=(1,) * 9), "has 9 dimensions, expected at most 8"),
        (_x(shape=(-1,)), r"has the shape \(-1,\)"),
        (_x(offset_bytes=4), "starts at byte 4, which is not a multiple of 64"),
        (_x(offset_bytes=-64), "starts at byte -64"),
        (_x(offset_bytes=192), r"has 12 bytes at byte 192, past the end of the arena \(192 bytes\)"),
        ({"inputs": (TensorSpec("x", "int8", (), 0),) * 2}, "input 'x': another input has the same name"),
        (_steps(code_offset=16), r"step 0 'layer': its kernel is at byte 16, .* code \(16 bytes\)"),
        (_steps(code_offset=2), "which is no instruction"),
        (_steps(tiles=0), "has 0 tiles"),
        (_steps(name="a\0"), "holds a NUL"),
        (_args(*[Arg(Space.ARENA, 0, 0)] * 65), "has 65 arguments, expected at most 64"),
        (_args(Arg(Space.ARENA, 32, 4)), "argument 0: starts at byte 32"),
        (_args(Arg(Space.SCRATCH, 0, 65)), r"past the end of the scratch buffer \(64 bytes\)"),
        (_args(Arg(Space.ARENA, 0, 4, array=1)), "names index array 1, but is not in the indices"),
        (_args(Arg(Space.INDICES, 0, 8)), "is not index array 0, of which it must be all"),
        (_args(Arg(Space.INDICES, 0, 12, array=4)), "is not index array 4"),
        (_args(Arg(Space.ARENA, 0, 4, name="a\0")), "holds a NUL"),
        (_steps(name="a" * 16385), "a name has 16385 bytes, expected at most 16384"),
        (_array([0, 2], IndexKind.INDEX, 2), "has index 2 at element 1, expected 0 or more and less than 2"),
        (_array([0, 2], IndexKind.INDEX, 3, lowest=1), "has index 0 at element 0, expected 1 or more"),
        (_array([2, 1, 2], IndexKind.INDEX, 3, part=1, part_limit=2), "has index 2 at element 2, .* less than 2"),
        (_array([0], IndexKind.INDEX, 1, part=2), "has 1 elements, its second part is from 2"),
        (_array([0.0], IndexKind.INDEX, 1, dtype="<f4"), "holds float32, which indices"),
        (_array([0, 3, 1, 4], IndexKind.INDPTR, 4), "fall at element 2"),
        (_array([0, 4], IndexKind.INDPTR, 3), "end at 4, expected 3"),
        (_array([0, 4], IndexKind.INDPTR, 4, part=1, part_limit=3), "element 1 is not 3"),
        (_array([1, 4], IndexKind.INDPTR, 4), "do not start at 0"),
        (_array([], IndexKind.INDPTR, 0), "do not start at 0"),
        (_array([0], IndexKind.INDPTR, 0, lowest=-1), "has a lowest value, expected none"),
        (_array([0, 2, 1, 3], IndexKind.ORDER, 4, part=2), "has an index of another part at element 1"),
        (_array([0], IndexKind.ORDER, 1), "is cut into parts of 0 elements"),
        ({"arrays": (IndexArray(32, 4, Bound(IndexKind.INDEX, "int32", 9)),)}, "index array 0: starts at byte 32"),
        ({"arrays": (IndexArray(0, 6, Bound(IndexKind.INDEX, "int32", 9)),)}, "6 bytes, expected a multiple of 4"),
        ({"arrays": (IndexArray(256, 4, Bound(IndexKind.INDEX, "int32", 9)),)}, "past the end of the indices"),
        (
            {"arrays": (IndexArray(0, 4, Bound(IndexKind.INDEX, "int32", 9)),) * 2},
            "index array 1: starts at byte 0, before",
        ),
    ],
)
def test_program_that_a_runtime_would_refuse_is_refused(changes, message, tmp_path):
    with pytest.raises(PackageError, match=message):
        write([make_program(**changes)], {}, tmp_path / "model.esp")

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("manifest", [{"a": float("nan")}, {"a": object()}, {"a": "x" * 2**20}, {"a": "\ud800"}])
def test_manifest_that_is_no_json_or_too_large_is_refused(program, manifest):
    with pytest.raises(PackageError, match="manifest: "):
        serialize([program], manifest)


@pytest.mark.parametrize("path", ["/nonexistent/model.esp", "/sys/model.esp"])
def test_place_that_cannot_be_written_is_one_line(program, path):
    with pytest.raises(PackageError, match=f"^{path}: cannot be written: [^\n]+$"):
        write([program], {}, Path(path))


def test_directory_of_that_name_is_kept(program, tmp_path):
    (tmp_path / "model.esp").mkdir()

    with pytest.raises(PackageError, match="model.esp: cannot be written: Is a directory"):
        write([program], {}, tmp_path / "model.esp")

    assert os.listdir(tmp_path) == ["model.esp"]


def test_full_disk_leaves_what_was_there(program, tmp_path):
    """A limit on the size of files stands in for a disk that fills up in the middle."""
    path = tmp_path / "model.esp"
    path.write_bytes(b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, limits[1]))
    try:
        with pytest.raises(PackageError, match="model.esp: cannot be written: File too large"):
            write([program], {}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert os.listdir(tmp_path) == ["model.esp"]
    assert path.read_bytes() == b"before"


def test_interrupt_leaves_no_file(tmp_path):
    """SIGINT arrives at the worst moment: the bytes are written, the name is not yet given."""
    code = (
        "import signal, sys; from pathlib import Path; from edgesparse.package.writer import write\n"
        "from tests.package.conftest import make_program\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it, and so would we\n"
        "sys.addaudithook(lambda event, _: signal.raise_signal(signal.SIGINT) if event == 'os.rename' else None)\n"
        "write([make_program()], {}, Path(sys.argv[1]))"
    )
    root = Path(writer.__file__).parents[2]

    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.esp")], cwd=root, capture_output=True, text=True
    )

    assert "KeyboardInterrupt" in result.stderr
    assert os.listdir(tmp_path) == []
