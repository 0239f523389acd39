"""What samples say of the units of a network, where layers read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgesparse import reference
from edgesparse.prune.samples import Samples
from edgesparse.prune.structured.atoms import Labels
from edgesparse.prune.structured.flow import Flow, FlowLayer


@dataclass(frozen=True)
class Reading:
    """Mean and mean square of each index along an axis of units, over all samples and other axes.

    The axis is the one that a layer sums over; or one that it makes, of units that no layer reads: so are the products
    of queries and keys.
    """

    layer: FlowLayer
    labels: Labels
    made: bool
    rank: int
    dtype: np.dtype
    mean: np.ndarray
    square: np.ndarray

    @property
    def value(self) -> str:
        """The value that has the axis."""
        return str(_place(self.layer, made=self.made)[0].name)

    @property
    def axis(self) -> int:
        """The axis, counted from the first."""
        return _place(self.layer, made=self.made)[1] % self.rank

    @staticmethod
    def empty(layer: FlowLayer, labels: Labels, made: bool, values: Mapping[str, np.ndarray]) -> Reading:
        """Of no sample yet; `values` are those of one."""
        like = values[str(_place(layer, made=made)[0].name)]
        return Reading(layer, labels, made, like.ndim, like.dtype, *np.zeros((2, len(labels))))

    def add(self, array: np.ndarray, samples: int) -> None:
        """Take in one of so many samples."""
        others = tuple(axis for axis in range(array.ndim) if axis != self.axis)
        wide = array.astype(np.float64)
        self.mean[:] += wide.mean(others) / samples
        self.square[:] += np.square(wide).mean(others) / samples


def readings(model: ir.Model, flow: Flow, samples: Samples) -> list[Reading]:
    """Of all units that can go.

    Raises: OnnxRuntimeError: the model cannot be run on the samples.
    """
    roots = flow.atoms.roots()
    read = [(layer, labels) for layer in flow.layers if (labels := _labels(flow, layer, made=False)) is not None]
    known = {root for _, labels in read for root in roots[labels].tolist()}
    made = [
        (layer, labels)
        for layer in flow.layers
        if (labels := _labels(flow, layer, made=True)) is not None
        and flow.free(labels)
        and not known.issuperset(roots[labels].tolist())
    ]
    places = [(layer, labels, False) for layer, labels in read] + [(layer, labels, True) for layer, labels in made]
    names = sorted({str(_place(layer, made=made)[0].name) for layer, _, made in places})
    result: list[Reading] = []
    if not places:
        return result
    with reference.Session(model, names, threads=0) as session:
        for feeds in samples.feeds():
            values = session.run(feeds)
            result = result or [Reading.empty(*place, values) for place in places]
            for reading in result:
                reading.add(values[reading.value], len(samples))
    return result


def _place(layer: FlowLayer, *, made: bool) -> tuple[ir.Value, int]:
    """The value that a layer reads along units or makes, and the axis."""
    return (layer.node.outputs[0], layer.made) if made else (layer.data, layer.axis)


def _labels(flow: Flow, layer: FlowLayer, *, made: bool) -> Labels | None:
    value, axis = _place(layer, made=made)
    return flow.axes(value)[axis]
