"""Names of values and nodes: plain ones, and those that a compiler could collide with or trip over."""

from __future__ import annotations

import numpy as np

SUFFIXES = (
    "_constant",
    "_folded",
    "_identity",
    "_computed",
    "_bias",
    "_mul",
    "_add",
    "_mul_operand",
    "_factor",
    "_slope",
    "_out",
    "_output",
    "_folded_1",
    "_constant_1",
    "/transpose",
    "\x1f(0,1)",
    "\x1f(1,0)",
    "\x1ftiles",
    ".weight",
)
ODD = ("größe", "x y", "层", "a/b", "a::b", "0", "val_0", "t1", "input", "output", "x0", "y.1", "é\u0301", "_", "p0")


class Names:
    """Hands out names that differ within a model; nodes may have none."""

    def __init__(self, rng: np.random.Generator, taken: set[str], prefix: str) -> None:
        self._rng = rng
        self._taken = taken  # by values of the whole model
        self._nodes_taken: set[str] = set()
        self._prefix = prefix
        self._odd = bool(rng.random() < 0.4)
        self._nodes = str(rng.choice(["own", "empty", "value", "odd"]))
        self._known: list[str] = []

    def value(self) -> str:
        """A name for a value."""
        name = f"{self._prefix}v{len(self._known)}"
        if self._odd and self._known and self._rng.random() < 0.4:
            name = str(self._rng.choice(self._known)) + str(self._rng.choice(SUFFIXES))
        elif self._odd and self._rng.random() < 0.3:
            name = str(self._rng.choice(ODD))
        if name in self._taken:
            name = f"{self._prefix}w{len(self._known)}"
        self._taken.add(name)
        self._known.append(name)
        return name

    def node(self, output: str) -> str:
        """A name for the node that makes the value `output`."""
        number = len(self._known)
        odd = str(self._rng.choice(self._known)) + str(self._rng.choice(SUFFIXES))
        name = {"own": f"{self._prefix}n{number}", "empty": "", "value": output, "odd": odd}[self._nodes]
        if name in self._nodes_taken:
            return ""
        self._nodes_taken.add(name)
        return name
