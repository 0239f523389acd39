"""How much of the arena holds something that is still needed, step by step, from the operands of a program's steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgesparse.program import Space

if TYPE_CHECKING:
    import numpy as np

    from edgesparse.program import Program

MOST_STEPS = 20_000
"""Steps of a program that this is computed for; of more, nobody would see them."""

_Place = tuple[int, int]
"""Where it begins and ends, in bytes."""


def used_bytes(program: Program) -> tuple[int, ...]:
    """Bytes of the arena in use while each step runs; none for a program of too many steps.

    A byte is in use from the step that writes it to the last that reads it. A step is taken to write its last operand
    in the arena; of one that writes several, the others count as read, so that the figure is an upper bound.
    """
    from edgesparse.package.check import tensor_bytes

    if not 0 < len(program.steps) <= MOST_STEPS:
        return ()
    inputs, outputs = (
        [(spec.offset_bytes, spec.offset_bytes + tensor_bytes(spec)) for spec in specs]
        for specs in (program.inputs, program.outputs)
    )
    touched = [
        [(arg.offset_bytes, arg.offset_bytes + arg.size_bytes) for arg in step.args if arg.space is Space.ARENA]
        for step in program.steps
    ]
    uses = _Uses([*inputs, *outputs, *(place for places in touched for place in places)], len(touched))
    for place in inputs:
        uses.write(place, 0)
    for at, places in enumerate(touched):
        for place in places[:-1]:
            uses.read(place, at)
        for place in places[-1:]:
            uses.write(place, at)
    for place in outputs:
        uses.read(place, len(touched) - 1)
    return uses.sums()


class _Uses:
    """From when to when each piece of the arena is in use; pieces end wherever an operand begins or ends."""

    def __init__(self, places: list[_Place], steps: int) -> None:
        import numpy as np

        self._np, self._steps = np, steps
        self._edges = np.unique([0, *(edge for place in places for edge in place)])
        self._sizes = np.diff(self._edges, append=self._edges[-1])
        self._born, self._last = (np.full(len(self._edges), -1) for _ in range(2))
        self._change = np.zeros(steps + 1, np.int64)

    def read(self, place: _Place, at: int) -> None:
        """A step reads there; what nobody has written begins with it."""
        where = self._pieces(place)
        born = self._born[where]
        born[born < 0] = at
        self._last[where] = at

    def write(self, place: _Place, at: int) -> None:
        """A step writes there; what was there has ended with its last reader."""
        where = self._pieces(place)
        self._end(where, at)
        self._born[where] = self._last[where] = at

    def sums(self) -> tuple[int, ...]:
        """The bytes in use at each step."""
        self._end(slice(None), self._steps)
        return tuple(int(count) for count in self._np.cumsum(self._change)[:-1])

    def _pieces(self, place: _Place) -> slice:
        begin, end = self._np.searchsorted(self._edges, place)
        return slice(int(begin), int(end))

    def _end(self, where: slice, at: int) -> None:
        held = self._born[where] >= 0
        sizes: np.ndarray = self._sizes[where][held]
        self._np.add.at(self._change, self._born[where][held], sizes)
        self._np.subtract.at(self._change, self._np.minimum(self._last[where][held] + 1, at), sizes)
