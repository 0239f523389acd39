"""A program small enough to read."""

from __future__ import annotations

import numpy as np
import pytest

from edgesparse.program import Arg, Bound, Engine, Image, IndexArray, IndexKind, Program, Space, Step, TensorSpec


def make_program(engine=None, image=None, **changes) -> Program:
    """One sparse layer over made-up code: 2 rows, 3 columns, 4 nonzeros.

    Args: engine, image: what differs in those.
    """
    indices = bytearray(256)
    indices[0:12] = np.array([0, 1, 4], "<i4").tobytes()
    indices[64:72] = np.array([2, 0, 1, 2], "<u2").tobytes()
    indices[128:136] = np.array([0, 1], "<i4").tobytes()
    indices[192:208] = np.array([-3, 2], "<i8").tobytes()
    arrays = (
        IndexArray(0, 12, Bound(IndexKind.INDPTR, "int32", 4, part=1, part_limit=1)),
        IndexArray(64, 8, Bound(IndexKind.INDEX, "uint16", 3, part=1, part_limit=3)),
        IndexArray(128, 8, Bound(IndexKind.ORDER, "int32", 2, part=1)),
        IndexArray(192, 16, Bound(IndexKind.INDEX, "int64", 3, lowest=-3)),
    )
    args = (
        *(Arg(Space.INDICES, a.offset_bytes, a.size_bytes, array=n) for n, a in enumerate(arrays)),
        Arg(Space.WEIGHTS, 0, 16),
        Arg(Space.ARENA, 64, 12, name="hidden"),
        Arg(Space.SCRATCH, 0, 64),
    )
    fields = {
        "engines": (Engine(**{"arena_bytes": 192, "scratch_bytes": 64} | (engine or {})),),
        "images": (
            Image(**{"isa": "aarch64", "cpu_features": ("neon", "dotprod"), "code": bytes(range(16))} | (image or {})),
        ),
        "inputs": (TensorSpec("x", "float32", (3,), 64),),
        "outputs": (TensorSpec("größe", "int8", (2, 1), 128), TensorSpec("scalar", "bool", (), 0)),
        "steps": (Step("layer", "Conv", "es_conv", 4, 7, args), Step("layer", "Relu", "es_relu", 8, 1, ())),
        "weights": bytes(range(16)),
        "indices": bytes(indices),
        "arrays": arrays,
    }
    return Program(**{**fields, **changes})


@pytest.fixture
def program() -> Program:
    """The program as it is."""
    return make_program()
