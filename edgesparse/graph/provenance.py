"""Which tensors of the file a constant of the normal form was made from, and how.

It is kept with the constant, so that it survives whatever copies or stores the model on the way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain

import onnx_ir as ir

KEY = "edgesparse.origins"
MOST = 64
"""Origins that are kept of a constant: what is made of more is no weight."""


@dataclass(frozen=True)
class Origin:
    """A tensor of the file by its name, and what was done to it: transposed, scaled, sliced, ...; each word once."""

    tensor: str
    steps: tuple[str, ...] = ()

    def then(self, step: str) -> Origin:
        """This origin, and one step more."""
        return self if step in self.steps else replace(self, steps=(*self.steps, step))


def origins(value: ir.Value | None) -> tuple[Origin, ...]:
    """Where a constant came from; from itself, where nothing made it, and from nowhere if only a pass needs it."""
    if value is None or value.const_value is None:
        return ()
    try:
        kept = json.loads(value.const_value.metadata_props[KEY])
        return tuple(Origin(str(tensor), tuple(map(str, steps))) for tensor, steps in kept)
    except (KeyError, ValueError, TypeError, RecursionError):  # a file may hold anything
        return (Origin(str(value.name)),)


def keep(value: ir.Value, found: Iterable[Origin]) -> None:
    """Remember where a constant came from."""
    assert value.const_value is not None
    value.const_value.metadata_props[KEY] = json.dumps([[origin.tensor, origin.steps] for origin in found])


def derived(step: str, *values: ir.Value | None) -> tuple[Origin, ...]:
    """Where what a step makes of constants came from."""
    return joined(step, map(origins, values))


def joined(step: str, parts: Iterable[Iterable[Origin]]) -> tuple[Origin, ...]:
    """The origins of all parts, each tensor once, with one step more."""
    found: dict[str, Origin] = {}
    for origin in chain.from_iterable(parts):
        found.setdefault(origin.tensor, origin.then(step) if step else origin)
    return tuple(found.values())[:MOST]
