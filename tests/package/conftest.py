"""A program small enough to read."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.program import Arg, ArgKind, Program, Space, Step, TensorSpec


def make_program(**changes) -> Program:
    """One sparse layer over made-up code: 2 rows, 3 columns, 4 nonzeros."""
    weights = bytearray(192)
    weights[0:12] = np.array([0, 1, 4], "<i4").tobytes()
    weights[64:72] = np.array([2, 0, 1, 2], "<u2").tobytes()
    weights[128:136] = np.array([1, 0], "<i4").tobytes()
    args = (
        Arg(Space.WEIGHTS, 0, 12, ArgKind.INDPTR_I32, 4),
        Arg(Space.WEIGHTS, 64, 8, ArgKind.INDEX_U16, 3),
        Arg(Space.WEIGHTS, 128, 8, ArgKind.INDEX_I32, 2),
        Arg(Space.ARENA, 64, 12),
        Arg(Space.SCRATCH, 0, 64),
    )
    fields = {
        "isa": "aarch64",
        "cpu_features": ("neon", "dotprod"),
        "arena_bytes": 192,
        "scratch_bytes": 64,
        "inputs": (TensorSpec("x", "float32", (3,), 64),),
        "outputs": (TensorSpec("größe", "int8", (2, 1), 128), TensorSpec("scalar", "bool", (), 0)),
        "steps": (Step("layer", "Conv", "es_conv", 4, 7, args), Step("layer", "Relu", "es_relu", 8, 1, ())),
        "code": bytes(range(16)),
        "weights": bytes(weights),
    }
    return Program(**{**fields, **changes})


@pytest.fixture
def program() -> Program:
    """The program as it is."""
    return make_program()
