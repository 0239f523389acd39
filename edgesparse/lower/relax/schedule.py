"""One generic CPU schedule for whatever TVM's legalisation gives."""

from __future__ import annotations

import tvm

GRAIN = "edgesparse.grain"
"""Annotation of an outermost loop: iterations that make a tile."""


def schedule(func: tvm.tirx.PrimFunc) -> tvm.tirx.PrimFunc:
    return func
