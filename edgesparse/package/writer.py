"""Write a program as model.esp: deterministic bytes, and never half a file under the final name."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgesparse.errors import PackageError
from edgesparse.package import layout
from edgesparse.package.check import check, tensor_bytes
from edgesparse.package.layout import SectionKind
from edgesparse.program import Arg, Program, TensorSpec


def write(program: Program, manifest: Mapping[str, Any], path: Path, report: bytes | None = None) -> None:
    """Write an artifact; `path` holds either all of it or what was there before.

    Args:
        manifest: what people and tools may want to know about the model; must be JSON.
        report: kept as it is in a section of its own.

    Raises:
        PackageError: the program is invalid, or the file cannot be written.
    """
    path = Path(path)
    chunks = list(_chunks(program, manifest, report))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as err:
        temporary.unlink(missing_ok=True)
        if isinstance(err, OSError):
            raise PackageError(f"{path}: cannot be written: {err.strerror or err}") from err
        raise


def serialize(program: Program, manifest: Mapping[str, Any], report: bytes | None = None) -> bytes:
    """The bytes of an artifact; the same for the same program.

    Raises:
        PackageError: the program is invalid.
    """
    return b"".join(_chunks(program, manifest, report))


def _chunks(program: Program, manifest: Mapping[str, Any], report: bytes | None) -> Iterator[bytes]:
    check(program)
    contents = {
        SectionKind.MANIFEST: _encode_manifest(manifest),
        SectionKind.PLAN: _encode_plan(program),
        SectionKind.CODE: program.code,
        SectionKind.WEIGHTS: program.weights,
        SectionKind.REPORT: report or b"",
    }
    return _container({kind: content for kind, content in contents.items() if content})


def _encode_manifest(manifest: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        encoded = text.encode()
    except (TypeError, ValueError) as err:
        raise PackageError(f"manifest: is not JSON: {err}") from err
    if len(encoded) > layout.MAX_MANIFEST_BYTES:
        raise PackageError(f"manifest: has {len(encoded)} bytes, expected at most {layout.MAX_MANIFEST_BYTES}")
    return encoded


class _Strings:
    """The string blob of a plan; equal strings are stored once."""

    def __init__(self) -> None:
        self.blob = bytearray()
        self._references: dict[str, tuple[int, int]] = {}

    def add(self, text: str) -> tuple[int, int]:
        """Offset and size of `text` in the blob."""
        if text not in self._references:
            encoded = text.encode()
            self._references[text] = (len(self.blob), len(encoded))
            self.blob += encoded + b"\0"
        return self._references[text]


def _encode_plan(program: Program) -> bytes:
    strings = _Strings()
    tensors = [_encode_tensor(tensor, strings) for tensor in (*program.inputs, *program.outputs)]
    steps = []
    args: list[bytes] = []
    for step in program.steps:
        names = (*strings.add(step.name), *strings.add(step.op), *strings.add(step.kernel))
        steps.append(layout.STEP.pack(*names, len(args), len(step.args), step.code_offset, step.tiles, 0))
        args += [_encode_arg(arg, strings) for arg in step.args]
    header = layout.PLAN.pack(
        layout.ISAS[program.isa],
        0,
        sum(1 << layout.CPU_FEATURE_BITS[name] for name in set(program.cpu_features)),
        program.arena_bytes,
        program.scratch_bytes,
        len(program.inputs),
        len(program.outputs),
        len(steps),
        len(args),
        len(strings.blob),
        bytes(12),
    )
    encoded = b"".join([header, *tensors, *steps, *args, strings.blob])
    if len(encoded) > layout.MAX_PLAN_BYTES:
        raise PackageError(f"plan: has {len(encoded)} bytes, expected at most {layout.MAX_PLAN_BYTES}")
    return encoded


def _encode_tensor(tensor: TensorSpec, strings: _Strings) -> bytes:
    rank = len(tensor.shape)
    dims = (*tensor.shape, *([0] * (layout.MAX_RANK - rank)))
    name = strings.add(tensor.name)
    dtype = layout.DTYPES[tensor.dtype]
    return layout.TENSOR.pack(*name, dtype, rank, tensor.offset_bytes, tensor_bytes(tensor), *dims)


def _encode_arg(arg: Arg, strings: _Strings) -> bytes:
    facts = (arg.space, arg.kind, arg.offset_bytes, arg.size_bytes, arg.limit)
    return layout.ARG.pack(*facts, *strings.add(arg.name), bytes(8))


def _container(contents: Mapping[SectionKind, bytes]) -> Iterator[bytes]:
    table = bytearray()
    end = layout.PREAMBLE.size + layout.SECTION.size * len(contents)
    offsets = []
    for kind, content in contents.items():
        offsets.append(layout.align_up(end, layout.SECTION_ALIGN))
        end = offsets[-1] + len(content)
        digest = hashlib.sha256(content).digest()
        table += layout.SECTION.pack(kind, 0, offsets[-1], len(content), bytes(8), digest)
    head = (layout.MAGIC, layout.MAJOR, layout.MINOR, len(contents), end, bytes(8))
    hashed = layout.PREAMBLE.pack(*head, bytes(32))[: layout.PREAMBLE_HASHED_BYTES]
    yield layout.PREAMBLE.pack(*head, hashlib.sha256(hashed + table).digest())
    yield bytes(table)
    position = layout.PREAMBLE.size + len(table)
    for offset, content in zip(offsets, contents.values(), strict=True):
        yield bytes(offset - position)
        yield content
        position = offset + len(content)
