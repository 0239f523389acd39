"""What compiled models of small integers answer to made-up inputs: promised by an artifact, and asked of a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgesparse.devices.local import LOCAL
from edgesparse.errors import OnnxRuntimeError, WitnessError
from edgesparse.package.answers import Answers, made_up

if TYPE_CHECKING:
    from edgesparse.graph.ops import Graph
    from edgesparse.program import Program


def answers_of(made: Sequence[tuple[Graph, Program]]) -> tuple[Answers, ...]:
    """What all plans of an artifact give alike, by the rule in numpy; none where floats are in the way.

    Raises: WitnessError: code that runs here gives something else.
    """
    from edgesparse.pipeline.integer_outputs import integer_outputs, promised
    from edgesparse.pipeline.witness import MOST_BYTES, run

    (graph, first), *_ = made
    names = set.intersection(*(set(promised(each)) for each, _ in made))
    if not names or first.engines[0].arena_bytes > MOST_BYTES:
        return ()
    feeds = made_up(first.inputs)
    try:
        expected = integer_outputs(graph, names, feeds)
    except OnnxRuntimeError:  # such as an index that is out of its range
        return ()
    for _, program in made:
        (image,) = program.images
        if LOCAL.why_not(image.isa, image.cpu_features):
            continue
        actual = run(program, feeds)
        for name in sorted(names):
            if expected[name].tobytes() != actual[name].tobytes():
                raise WitnessError(f"code gives other bits in output {name!r}: this is our fault, please report it")
    found = Answers.of(expected, first.outputs)
    return () if found is None else (found,)
