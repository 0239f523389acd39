"""Made-up inputs follow their rule, and hashes of answers come back as they were written."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.errors import PackageError
from edgesparse.package.answers import Answers, decode, digest, made_up
from edgesparse.program import TensorSpec

SPLITMIX = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821)
"""What SplitMix64 gives from 1234567 on, as its authors' code and others do."""


@pytest.mark.parametrize(
    ("dtype", "made"),
    [
        ("uint8", lambda z: z >> 56),
        ("int8", lambda z: (z >> 56) - 256 * (z >> 63)),
        ("float16", lambda z: ((z >> 56) - 256 * (z >> 63)) / 32),
        ("float32", lambda z: ((z >> 56) - 256 * (z >> 63)) / 32),
        ("float64", lambda z: ((z >> 56) - 256 * (z >> 63)) / 32),
        ("int16", lambda z: z >> 63),
        ("int64", lambda z: z >> 63),
        ("bool", lambda z: z >> 63),
    ],
)
def test_elements_are_made_of_the_numbers_of_splitmix(dtype, made):
    found = made_up([TensorSpec("a", dtype, (3,), 0), TensorSpec("b", dtype, (1, 2), 0)], 1234567)

    assert found["a"].dtype == found["b"].dtype == dtype and found["b"].shape == (1, 2)
    assert [*found["a"].tolist(), *found["b"].reshape(-1).tolist()] == [made(z) for z in SPLITMIX]


def test_answers_come_back():
    outputs = {"a": np.arange(6, dtype=np.int8), "c": np.ones(2, np.float32)}
    specs = [TensorSpec(name, "int8", (1,), 0) for name in "abc"]

    answers = Answers.of(outputs, specs, 7)

    assert answers.digests == (digest(outputs["a"]), None, digest(outputs["c"]))
    assert decode(answers.encode() * 2, 3) == (answers, answers)
    assert decode(b"", 3) == () and Answers.of({}, specs) is None


def test_records_of_another_size_are_refused():
    with pytest.raises(PackageError, match="has 41 bytes, expected a multiple of 40"):
        decode(bytes(41), 1)
