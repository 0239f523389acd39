"""What a model answers to made-up inputs, as hashes: FORMAT.md has the rule, and `runtime/src/answers.c` follows it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

from edgesparse.errors import PackageError

DIGEST_BYTES = 32
SEED = 1
_NOTHING = bytes(DIGEST_BYTES)


class Spec(Protocol):
    """A tensor of a model, as a compiler or a runtime describes it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def dtype(self) -> Any:
        """Its type, for numpy."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""


@dataclass(frozen=True)
class Answers:
    """SHA-256 of each output that a model gives for the inputs of a seed; None for one that machines round apart."""

    seed: int
    digests: tuple[bytes | None, ...]

    @classmethod
    def of(cls, outputs: Mapping[str, np.ndarray], specs: Sequence[Spec], seed: int = SEED) -> Answers | None:
        """Those of the outputs that are known; None where none is."""
        digests = tuple(digest(outputs[spec.name]) if spec.name in outputs else None for spec in specs)
        return cls(seed, digests) if any(digests) else None

    def encode(self) -> bytes:
        """The record."""
        return self.seed.to_bytes(8, "little") + b"".join(each or _NOTHING for each in self.digests)


def decode(section: bytes, outputs: int) -> tuple[Answers, ...]:
    """The records of a section.

    Raises: PackageError: their size is not that of a model with so many outputs.
    """
    size = 8 + DIGEST_BYTES * outputs
    if len(section) % size:
        raise PackageError(f"the answers section has {len(section)} bytes, expected a multiple of {size}")
    records = [section[at : at + size] for at in range(0, len(section), size)]
    return tuple(
        Answers(
            int.from_bytes(record[:8], "little"),
            tuple(
                None if (found := record[at : at + DIGEST_BYTES]) == _NOTHING else found
                for at in range(8, size, DIGEST_BYTES)
            ),
        )
        for record in records
    )


def digest(array: np.ndarray) -> bytes:
    """SHA-256 of an output."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()


def made_up(specs: Sequence[Spec], seed: int = SEED) -> dict[str, np.ndarray]:
    """The inputs of a seed, by name: SplitMix64, a number for each element.

    Source: Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number Generators".
    """
    found, first = {}, 1
    for spec in specs:
        count = prod(spec.shape)
        numbers = np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        numbers = (numbers ^ numbers >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ numbers >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        random = numbers ^ numbers >> np.uint64(31)
        found[spec.name] = _filled(random, np.dtype(spec.dtype)).reshape(spec.shape)
        first += count
    return found


def _filled(random: np.ndarray, dtype: np.dtype) -> np.ndarray:
    bytes_ = (random >> np.uint64(56)).astype(np.uint8)
    if dtype.kind == "f":
        return (bytes_.view(np.int8).astype(np.float32) / np.float32(32)).astype(dtype)
    return bytes_.view(dtype) if dtype.name in ("int8", "uint8") else (random >> np.uint64(63)).astype(dtype)
