"""Carry calibration samples through a network from stop to stop: what lies between two stops is computed once.

So a layer sees its inputs as the network pruned so far gives them, at the price of one inference for all layers.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse import reference
from edgesparse.errors import OnnxRuntimeError, PruneError
from edgesparse.prune.samples import BATCH, Samples
from edgesparse.prune.unfold import Sampling

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Stop:
    """Values to look at. Those that are `final` do not depend on any weight that will still change."""

    final: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(dict.fromkeys((*self.final, *self.others)))


def carry(model: ir.Model, samples: Samples, stops: Sequence[Stop]) -> Iterator[Iterator[tuple[Sampling, Arrays]]]:
    """The values of each stop, batch by batch; a stop must be looked at to its end before the next is asked for.

    Args:
        model: its weights may change between two stops, in what lies behind the final values of the first.
        stops: final values in an order in which the graph can compute them.

    Raises: PruneError: ONNX Runtime cannot run the model on the samples.
    """
    held = list(samples.feeds(BATCH))
    values = {value.name: value for value in model.graph.inputs}
    values |= {value.name: value for node in model.graph for value in node.outputs}
    for number, stop in enumerate(stops):
        later = [values[name] for each in stops[number + 1 :] for name in each.values]
        computed = _between([values[name] for name in stop.final], held[0])
        cut = _needed(later, {*held[0], *(name for node in computed for name in _names(node))})
        yield _looked_at(model, samples, stop, held, [name for name in cut if name not in held[0]])
        for arrays in held:
            for name in arrays.keys() - cut.keys():
                del arrays[name]


def _looked_at(
    model: ir.Model, samples: Samples, stop: Stop, held: list[Arrays], kept: Sequence[str]
) -> Iterator[tuple[Sampling, Arrays]]:
    """The values of a stop; those in `kept` join what is held."""
    wanted = [name for name in dict.fromkeys((*stop.values, *kept)) if name not in held[0]]
    types = {name: array.dtype for name, array in held[0].items()}
    try:
        opened = reference.Session(model, wanted, given=types, threads=0) if wanted else nullcontext()
        with opened as session:
            first = 0
            for arrays in held:
                batch = min(BATCH, len(samples) - first) if samples.batchable else 1
                computed = session.run({name: arrays[name] for name in session.inputs}) if session else {}
                yield Sampling(len(samples), first, batch), {**arrays, **computed}
                arrays |= {name: computed[name] for name in kept}
                first += batch
    except OnnxRuntimeError as err:
        raise PruneError(f"calibration: {err}") from err


def _between(values: Sequence[ir.Value], held: Container[str]) -> set[ir.Node]:
    """The nodes that compute `values` from what is held."""
    found: set[ir.Node] = set()
    pending: list[ir.Value | None] = list(values)
    while pending:
        value = pending.pop()
        node = None if value is None or str(value.name) in held else value.producer()
        if node is not None and node not in found:
            found.add(node)
            pending += _reads(node)
    return found


def _needed(values: Sequence[ir.Value], known: Container[str]) -> dict[str, None]:
    """Of the values that are known, those from which the others compute `values`."""
    found = {str(value.name): None for value in values if str(value.name) in known}
    for node in _between(values, known):
        found |= {str(value.name): None for value in _reads(node) if value is not None and str(value.name) in known}
    return found


def _reads(node: ir.Node) -> list[ir.Value | None]:
    """What a node reads, the nodes inside its branches included."""
    inner = [attr.as_graph() for attr in node.attributes.values() if attr.type == ir.AttributeType.GRAPH]
    return [*node.inputs, *(value for graph in inner for inside in graph.all_nodes() for value in inside.inputs)]


def _names(node: ir.Node) -> list[str]:
    return [str(value.name) for value in node.outputs if value.name]
