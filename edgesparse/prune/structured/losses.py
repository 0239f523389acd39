"""How far the outputs of a network move when units of one group go and all others stay.

What reads a unit that is gone finds its mean in its place, which is what a bias can make up for.

Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets", arXiv:1608.08710, section 3.2, where accuracy is
measured as layers are pruned alone; here it is the outputs, on samples without labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import onnx_ir as ir
from scipy.interpolate import PchipInterpolator

from edgesparse import reference
from edgesparse.errors import OnnxRuntimeError, PruneError
from edgesparse.nodes import free_name, names_in
from edgesparse.prune.agreement import OutputSums
from edgesparse.prune.samples import BATCH
from edgesparse.prune.structured.groups import Group
from edgesparse.prune.structured.importance import Evidence
from edgesparse.prune.structured.reading import Reading

LEVELS = (0.25, 0.5, 0.75, 1.0)
"""Shares of a group that are measured; what lies between is interpolated."""
PASSES = 8
"""Inferences for all groups together, in multiples of the number of samples."""
FEWEST = 32
"""Samples for each measurement, if there are as many."""
LEFT = 1e-6
"""The least share of what a group does that counts as left, so that losses are finite."""


def sensitivities(evidence: Evidence, groups: Sequence[Group], orders: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each group, what is lost once the first k of its units in an order are gone, k from 0 to all.

    The error e of the outputs is the squared one over the squares of the output, the mean over all outputs; E is that
    without any of the group. The loss is -E log(1 - e / E): e while little has gone, and the less is left of what the
    group does, the more each unit is worth, as least squares have less to fit.

    Args: orders: indices of the units of each group.

    Raises: PruneError: there are no samples, or they do not fit the model.
    """
    if not groups:
        return []
    measured = [sorted({round(share * len(group.units)) for share in LEVELS} - {0}) for group in groups]
    probe = _Probe(evidence, PASSES * len(evidence.samples) // max(1, sum(map(len, measured))))
    with probe.session:
        errors = [
            np.stack([probe.errors(group.units[order[:count]]) for count in counts])
            for group, order, counts in zip(groups, orders, measured, strict=True)
        ]
    told = np.isfinite(np.concatenate(errors)).all(axis=0)  # by output; what is not finite hides all else
    curves = []
    for group, counts, each in zip(groups, measured, errors, strict=True):
        known = each[:, told] if told.any() else np.where(np.isfinite(each), each, 1.0)
        rising = np.maximum.accumulate([0.0, *known.mean(axis=1)])
        curves.append(_worth(PchipInterpolator([0, *counts], rising)(np.arange(len(group.units) + 1))))
    return curves


def _worth(error: np.ndarray) -> np.ndarray:
    """The loss for an error that rises with the number of units gone, up to that of all of them."""
    whole = float(error[-1])
    if whole == 0.0:
        return np.zeros_like(error)
    loss: np.ndarray = -whole * np.log(np.maximum(1.0 - error / whole, LEFT))
    return loss


class _Probe:
    """The network with a switch for each unit wherever a layer reads it."""

    def __init__(self, evidence: Evidence, count: int) -> None:
        model = evidence.model.clone()
        roots, names = evidence.flow.atoms.roots(), names_in(model)
        self._switches = [_Switch(model, reading, roots[reading.labels], names) for reading in evidence.readings]
        self.session = reference.Session(model, threads=0)
        for batch in (BATCH, 1) if evidence.samples.batchable else (1,):  # some networks say more than they keep
            self._feeds = list(islice(evidence.samples.feeds(batch), -(-max(count, FEWEST) // batch)))
            try:
                self._whole = list(self._outputs(np.empty(0, np.int64)))
            except PruneError:
                if batch == 1:
                    raise
            else:
                break

    def errors(self, gone: np.ndarray) -> np.ndarray:
        """Of each output without the units `gone`, by atoms; infinite where it is no number, NaN where it is empty."""
        sums = {name: OutputSums() for name in self.session.outputs}
        for exact, found in zip(self._whole, self._outputs(gone), strict=True):
            for name, output in found.items():
                sums[name].add(exact[name], output, 1)
        return np.array([total.error if total.seen else np.nan for total in sums.values()])

    def _outputs(self, gone: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        switched = {name: array for switch in self._switches for name, array in switch.feeds(gone).items()}
        try:
            yield from (self.session.run({**feeds, **switched}) for feeds in self._feeds)
        except OnnxRuntimeError as err:
            raise PruneError(f"calibration: {err}") from err


class _Switch:
    """x * kept + mean * (1 - kept) in place of x, where a layer reads x, or behind the layer that makes it."""

    def __init__(self, model: ir.Model, reading: Reading, units: np.ndarray, names: set[str]) -> None:
        self._units, self._mean, self._dtype = units, reading.mean, reading.dtype
        self._shape = [-1 if axis == reading.axis else 1 for axis in range(reading.rank)]
        output = str(reading.layer.node.outputs[0].name)
        node = next(node for node in model.graph if node.outputs[0].name == output)
        kind = ir.TensorType(ir.DataType.from_numpy(reading.dtype))
        self._inputs = [ir.Value(name=free_name(f"{output}.{part}", names), type=kind) for part in ("kept", "instead")]
        model.graph.inputs.extend(self._inputs)
        index = list(reading.layer.node.inputs).index(reading.layer.data)
        read = node.outputs[0] if reading.made else node.inputs[index]
        assert read is not None
        product = ir.node("Mul", [read, self._inputs[0]])
        total = ir.node("Add", [product.outputs[0], self._inputs[1]])
        if reading.made:
            read.replace_all_uses_with(total.outputs[0])
            product.replace_input_with(0, read)
            node.append((product, total))
        else:
            node.replace_input_with(index, total.outputs[0])
            node.prepend((product, total))

    def feeds(self, gone: np.ndarray) -> dict[str, np.ndarray]:
        """What switches the units `gone` off, by atoms."""
        kept = ~np.isin(self._units, gone)
        arrays = (kept, np.where(kept, 0.0, self._mean))
        return {
            str(value.name): array.astype(self._dtype).reshape(self._shape)
            for value, array in zip(self._inputs, arrays, strict=True)
        }
