"""Take channels, attention heads and neurons out of an ONNX model: a smaller dense model comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgesparse.errors import PruneError
from edgesparse.prune.report import GroupReport, ShrunkReport
from edgesparse.prune.structured.constants import take_constants
from edgesparse.prune.structured.flow import Flow
from edgesparse.prune.structured.follow import follow
from edgesparse.prune.structured.groups import KINDS, Group, Sizes, find_groups
from edgesparse.prune.structured.importance import IMPORTANCE, Evidence
from edgesparse.prune.structured.losses import sensitivities
from edgesparse.prune.structured.refit import refit as fit
from edgesparse.prune.structured.select import rise, select, share_of_rest


@dataclass(frozen=True)
class Shrunk:
    """A smaller model and what was taken out of it."""

    model: ir.Model
    report: ShrunkReport


def shrink(
    model: ir.Model,
    removed: float,
    *,
    importance: str = "l2",
    kinds: Sequence[str] = KINDS,
    multiple: int = 8,
    skip: Sequence[str] = (),
    calibration: Mapping[str, np.ndarray] | None = None,
    gradients: Mapping[str, np.ndarray] | None = None,
    refit: bool = False,
) -> Shrunk:
    """Return a copy of `model` without the channels, heads and neurons that matter least.

    What one of them is coupled to goes with it, through residual sums, concatenations, normalisation and all else that
    is understood; what is not understood stays as it is, and the report says why. Outputs keep their shapes.

    Args:
        removed: share of the MACs of the weighted layers to take away, in [0, 1); met as closely as whole multiples
            permit.
        importance: a name in IMPORTANCE: which go first.
        kinds: of KINDS, those that may go.
        multiple: what is left of a dimension is a multiple of this, and at least one.
        skip: shell patterns on names of layers or weights, whose dimensions stay.
        calibration: samples by input name, as `check_samples` wants them: how many go from where is then by what the
            outputs lose, see `sensitivities`, and by shares of the importance otherwise.
        gradients: of the loss by the name of the initializer, where the importance wants them.
        refit: fit the layers to what `model` gives on the samples.

    Raises: PruneError: a value out of range, an unknown name, a `skip` that matches nothing, or nothing can go.
    """
    check_shrink(removed, importance, kinds, multiple)
    shrunk = model.clone()
    flow = follow(shrunk, calibration)
    groups = find_groups(flow, kinds, skip)
    free = [group for group in groups if group.note is None]
    if removed > 0 and all(len(group.counts(multiple)) == 1 for group in free):
        raise PruneError(f"nothing can be taken out of the model{_why(groups, multiple)}")
    evidence = Evidence(shrunk, flow, calibration, gradients)
    scores = IMPORTANCE[importance](evidence, free)
    orders = [np.argsort(values, kind="stable") for values in scores]
    losses = [share_of_rest(group, values[order]) for group, values, order in zip(free, scores, orders, strict=True)]
    if calibration is not None:
        losses = [rise(*each) for each in zip(sensitivities(evidence, free, orders), losses, strict=True)]
    before, after = Sizes(flow), Sizes(flow)
    gone = select(free, orders, losses, after, removed, multiple)
    units = np.concatenate([np.zeros(0, np.int64), *gone])
    kept = _kept(flow, units)
    left = {id(group): len(group.units) - len(lost) for group, lost in zip(free, gone, strict=True)}
    _apply(flow, units)
    if refit and calibration is not None:
        fit(shrunk, model, kept, evidence.samples)
    every = range(len(flow.layers))
    rows = tuple(_row(flow, group, left.get(id(group), len(group.units)), before, after) for group in groups)
    report = ShrunkReport(
        removed, importance, multiple, rows, before.parameters(every), after.parameters(every), before.macs, after.macs
    )
    return Shrunk(shrunk, report)


def check_shrink(removed: float, importance: str, kinds: Sequence[str], multiple: int) -> None:
    """Check what can be checked without a model.

    Raises: PruneError: a value out of range, or an unknown name.
    """
    if not 0.0 <= removed < 1.0:
        raise PruneError(f"removed must be at least 0 and below 1, got {removed}")
    if importance not in IMPORTANCE:
        raise PruneError(f"importance {importance!r} is unknown; expected one of {', '.join(sorted(IMPORTANCE))}")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise PruneError(f"kinds {', '.join(unknown) or 'are empty'}; expected some of {', '.join(KINDS)}")
    if multiple < 1:
        raise PruneError(f"multiple must be at least 1, got {multiple}")


def _why(groups: Sequence[Group], multiple: int) -> str:
    reasons = dict.fromkeys(
        f"{group.name}: {group.note or f'too few for a multiple of {multiple}'}" for group in groups
    )
    listed = list(reasons)
    return "".join([": " if listed else "", "; ".join(listed[:3]), "; ..." if len(listed) > 3 else ""])


def _kept(flow: Flow, gone: np.ndarray) -> dict[str, np.ndarray]:
    """Which channels stay of what a layer makes, by the name of the value."""
    stays = ~np.isin(flow.atoms.roots(), gone)
    kept = {}
    for layer in flow.layers:
        value = layer.node.outputs[0]
        labels = flow.axes(value)[layer.made]
        if labels is not None:
            kept[str(value.name)] = np.flatnonzero(stays[labels])
    return kept


def _apply(flow: Flow, gone: np.ndarray) -> None:
    """Take units out of constants, attributes and the shapes on record."""
    if not len(gone):
        return
    stays = ~np.isin(flow.atoms.roots(), gone)

    def keep(labels: np.ndarray) -> np.ndarray:
        return np.asarray(stays[labels])

    model = flow.model
    model.ir_version = max(model.ir_version, 4)  # before, initializers had to be inputs too
    model.graph.inputs[:] = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    for fix in flow.fixes:
        fix(keep)
    take_constants(flow, lambda labels: np.flatnonzero(keep(labels)))
    sizes = flow.resized(keep)
    for node in model.graph:
        for value in node.outputs:
            shape = value.shape
            if shape is not None and (changed := sizes.get(str(value.name))):
                value.shape = ir.Shape([changed.get(axis, size) for axis, size in enumerate(shape)])
    RemoveUnusedNodesPass()(model)


def _row(flow: Flow, group: Group, left: int, before: Sizes, after: Sizes) -> GroupReport:
    layers = sorted({layer for layer, _ in group.taken})
    each = 1 if group.kind == "heads" else group.width
    return GroupReport(
        name=group.name,
        kind=group.kind,
        layers=tuple(flow.layers[layer].name for layer in layers),
        size_before=len(group.units) * each,
        size_after=left * each,
        parameters_before=before.parameters(layers),
        parameters_after=after.parameters(layers),
        macs_before=sum(before.macs_of(layer) for layer in layers),
        macs_after=sum(after.macs_of(layer) for layer in layers),
        note=group.note,
    )
