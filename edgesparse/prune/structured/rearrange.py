"""Operators that move elements: atoms move along."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgesparse.prune.structured.atoms import Labels
from edgesparse.prune.structured.constants import set_constant
from edgesparse.prune.structured.extents import fit_shape
from edgesparse.prune.structured.flow import Axes, Flow, Keep


def transpose(flow: Flow, node: ir.Node) -> None:
    """Permute the axes."""
    axes = flow.axes(node.inputs[0])
    perm = node.attributes.get_ints("perm", None) or range(len(axes))[::-1]
    flow.put(node.outputs[0], [axes[axis] for axis in perm])


def concat(flow: Flow, node: ir.Node) -> None:
    """Atoms one after another; a part that is not followed stays."""
    values = [value for value in node.inputs if value is not None]
    rank = len(flow.shape(node.outputs[0]))
    joint = node.attributes.get_int("axis", 0) % rank
    made: Axes = [None] * rank
    for axis in range(rank):
        sides = [flow.axes(value)[axis] for value in values if axis == joint or not flow.is_constant(value)]
        if all(labels is None for labels in sides):
            continue
        if axis == joint:
            made[axis] = np.concatenate(
                [
                    flow.still(flow.shape(value)[axis], "it never changes") if labels is None else labels
                    for value, labels in zip(values, sides, strict=True)
                ]
            )
            continue
        made[axis] = sides[0]
        for labels in sides[1:]:
            made[axis] = flow.unite(made[axis], labels, f"{node.op_type} joins it with what stays")
    for at, value in enumerate(node.inputs):
        if value is not None and flow.is_constant(value):
            flow.use(node, at, [None if axis == joint else labels for axis, labels in enumerate(made)])
    flow.put(node.outputs[0], made)


def split(flow: Flow, node: ir.Node) -> None:
    """Atoms in parts."""
    axes = flow.axes(node.inputs[0])
    axis = node.attributes.get_int("axis", 0) % len(axes)
    labels = axes[axis]
    sizes = [flow.shape(value)[axis] for value in node.outputs]
    ends = np.cumsum(sizes)
    parts = [None if labels is None else labels[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    for value, part in zip(node.outputs, parts, strict=True):
        flow.put(value, [*axes[:axis], part, *axes[axis + 1 :]])

    def fix(keep: Keep) -> None:
        counts = [int(keep(part).sum()) for part in parts if part is not None]
        if not counts or counts == sizes:
            return
        node.attributes.pop("num_outputs", None)
        if flow.opset >= 13:
            set_constant(node, 1, np.array(counts, np.int64))
        else:
            node.attributes["split"] = ir.AttrInt64s("split", counts)

    flow.fixes.append(fix)


def slice_(flow: Flow, node: ir.Node) -> None:
    """A range of atoms; an axis of which some are left out in between must stay."""
    axes = flow.axes(node.inputs[0])
    ranges = _ranges(flow, node)
    if ranges is None:
        return flow.decline(node)
    made = list(axes)
    cut: list[tuple[int, Labels, int, int]] = []
    for at, (axis, start, end, step) in enumerate(ranges):
        labels = axes[axis]
        if labels is None:
            continue
        first, last, _ = slice(start, end, step).indices(len(labels))
        made[axis] = labels[first:last]
        if step != 1:
            flow.freeze(labels, f"{node.op_type} leaves some out")
            made[axis] = None
        elif last - first != len(labels):
            cut.append((at, labels, first, last))
    flow.put(node.outputs[0], made)

    def fix(keep: Keep) -> None:
        moved = [
            (at, int(keep(labels[:first]).sum()), int(keep(labels[:last]).sum())) for at, labels, first, last in cut
        ]
        starts, ends = [start for _, start, _, _ in ranges], [end for _, _, end, _ in ranges]
        for at, first, last in moved:
            starts[at], ends[at] = first, last
        if moved:
            _set_ints(flow, node, 1, "starts", starts, 10)
            _set_ints(flow, node, 2, "ends", ends, 10)

    flow.fixes.append(fix)
    return None


def _ranges(flow: Flow, node: ir.Node) -> list[tuple[int, int, int, int]] | None:
    """Axis, start, end and step of each axis that is sliced; None where they are computed."""
    starts, ends = _ints(flow, node, 1, "starts"), _ints(flow, node, 2, "ends")
    if starts is None or ends is None:
        return None
    given, steps = _ints(flow, node, 3, "axes"), _ints(flow, node, 4, "steps")
    if any(
        len(node.inputs) > at and node.inputs[at] is not None and got is None for at, got in ((3, given), (4, steps))
    ):
        return None
    axes = range(len(starts)) if given is None else given
    return list(zip(axes, starts, ends, steps or [1] * len(starts), strict=True))


def _ints(flow: Flow, node: ir.Node, index: int, name: str) -> list[int] | None:
    """A list of integers that is an attribute in old files and an input in new ones."""
    if name in node.attributes:
        return list(node.attributes.get_ints(name, ()))
    known = flow.known(node.inputs[index]) if len(node.inputs) > index else None
    return None if known is None else known.astype(int).flatten().tolist()


def _set_ints(flow: Flow, node: ir.Node, index: int, name: str, values: list[int], since: int) -> None:
    if flow.opset >= since:
        set_constant(node, index, np.array(values, np.int64))
    else:
        node.attributes[name] = ir.AttrInt64s(name, values)


def gather(flow: Flow, node: ir.Node) -> None:
    """Rows of a constant table, whose other axes are new; or of an activation, by constant indices."""
    data, indices = node.inputs[0], node.inputs[1]
    shape = flow.shape(data)
    axis = node.attributes.get_int("axis", 0) % len(shape)
    if flow.is_constant(data):
        axes: Axes = [None if at == axis else flow.fresh(size, node) for at, size in enumerate(shape)]
        flow.use(node, 0, axes)
        flow.put(node.outputs[0], [*axes[:axis], *flow.axes(indices), *axes[axis + 1 :]])
        return
    axes = flow.axes(data)
    labels, known = axes[axis], flow.known(indices)
    picked = flow.axes(indices)
    if labels is not None and (known is None or known.ndim != 1):
        flow.freeze(labels, f"{node.op_type} picks from it")
    elif labels is not None and known is not None:
        index = np.where(known < 0, known + len(labels), known)
        picked = [labels[index]]

        def fix(keep: Keep) -> None:
            stays = keep(labels)
            if not stays.all():
                set_constant(node, 1, (np.cumsum(stays) - 1)[index[stays[index]]].astype(known.dtype))

        flow.fixes.append(fix)
    flow.put(node.outputs[0], [*axes[:axis], *picked, *axes[axis + 1 :]])


def pad(flow: Flow, node: ir.Node) -> None:
    """Padding makes atoms of its own, which go by making it narrower."""
    axes, pads = flow.axes(node.inputs[0]), _ints(flow, node, 1, "pads")
    rank = len(axes)
    reads_axes = len(node.inputs) > 3 and node.inputs[3] is not None
    if pads is None or reads_axes or min(pads) < 0 or node.attributes.get_string("mode", "constant") != "constant":
        return flow.decline(node)
    ends: list[tuple[int, Labels]] = []
    made = list(axes)
    for at, count in enumerate(pads):
        labels = made[at % rank]
        if labels is not None and count:
            added = flow.atoms.fresh(count)
            made[at % rank] = np.concatenate([added, labels] if at < rank else [labels, added])
            ends.append((at, added))
    flow.put(node.outputs[0], made)

    def fix(keep: Keep) -> None:
        narrower = {at: int(keep(added).sum()) for at, added in ends}
        if any(narrower[at] != pads[at] for at in narrower):
            _set_ints(flow, node, 1, "pads", [narrower.get(at, count) for at, count in enumerate(pads)], 11)

    flow.fixes.append(fix)
    return None


def expand(flow: Flow, node: ir.Node) -> None:
    """Expand and Tile: what is repeated has no atoms of its own."""
    before, after = flow.shape(node.inputs[0]), flow.shape(node.outputs[0])
    axes: Axes = [*[None] * (len(after) - len(before)), *flow.axes(node.inputs[0])]
    if node.op_type == "Tile":
        made = [
            None if labels is None else np.tile(labels, size // len(labels))
            for labels, size in zip(axes, after, strict=True)
        ]
        return flow.put(node.outputs[0], made)
    extents = flow.extents.get(str(node.inputs[1].name) if node.inputs[1] else "", np.full(len(after), None))
    sizes = [1] * (len(after) - len(before)) + list(before)
    made = [
        extent if size == 1 and extent is not None and len(extent) == wanted else labels
        for labels, size, extent, wanted in zip(axes, sizes, extents, after, strict=True)
    ]
    if flow.is_constant(node.inputs[0]):
        made = [extent if size == 1 else None for extent, size in zip(extents, sizes, strict=True)]
    flow.put(node.outputs[0], made)
    return fit_shape(flow, node, flow.axes(node.outputs[0]))


def resize(flow: Flow, node: ir.Node) -> None:
    """Resize and Upsample: axes that keep their size pass, the others must stay."""
    axes = flow.axes(node.inputs[0])
    before, after = flow.shape(node.inputs[0]), flow.shape(node.outputs[0])
    for axis, (size, wanted) in enumerate(zip(before, after, strict=True)):
        if size != wanted:
            flow.freeze(axes[axis], f"{node.op_type} mixes along it")
            axes[axis] = None
    if "axes" in node.attributes:  # sizes are of these axes only
        for axis in node.attributes.get_ints("axes", ()):
            flow.freeze(axes[axis], f"{node.op_type} is given its size")
    flow.put(node.outputs[0], axes)
    if node.op_type == "Resize" and "axes" not in node.attributes:
        fit_shape(flow, node, flow.axes(node.outputs[0]))


def filled(flow: Flow, node: ir.Node) -> None:
    """ConstantOfShape: sizes are those of other axes."""
    extents = flow.extents.get(str(node.inputs[0].name) if node.inputs[0] else "")
    made: Axes = [None] * len(flow.shape(node.outputs[0])) if extents is None else list(extents)
    flow.put(node.outputs[0], made)
    fit_shape(flow, node, flow.axes(node.outputs[0]))


RULES: dict[str, Callable[[Flow, ir.Node], None]] = {
    "Transpose": transpose,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "Pad": pad,
    **dict.fromkeys(("Expand", "Tile"), expand),
    **dict.fromkeys(("Resize", "Upsample"), resize),
    "ConstantOfShape": filled,
}
