"""Operators that move, choose or make elements."""

from __future__ import annotations

from math import prod

import numpy as np

from tests.sweeps.case import Node
from tests.sweeps.elementwise import RANKS, attributes
from tests.sweeps.operators import Choice, Levels, Operator, ints
from tests.sweeps.reducing import AXIS, axis_of


def _reshape(c: Choice) -> Node | None:
    shape = c.shape()
    size = prod(shape)
    target = {
        "flat": [-1],
        "kept": [0] * len(shape),
        "rest": [0, -1],
        "reverse": list(shape[::-1]),
        "scalar": [],
        "more": [1, *shape, 1],
    }[c["target"]]
    if (c["target"] == "scalar" and size != 1) or (c["target"] == "rest" and not shape):
        return None
    if c["allowzero"] and 0 in target and -1 in target:
        return None
    if c["allowzero"] and c["target"] == "kept" and size:
        return None
    return Node([c.data(), ints(*target)], attributes(c, "allowzero"), frozenset({1}))


def _flatten(c: Choice) -> Node | None:
    axis = c["axis"]
    return Node([c.data()], attributes(c, "axis")) if axis is None or -c.rank <= axis <= c.rank else None


def _squeeze(c: Choice) -> Node | None:
    axes = c["axes"]
    shape = list(c.shape())
    for axis in axes or []:
        if not -c.rank <= axis < c.rank:
            return None
        shape[axis] = 1
    x = c.data(shape)
    if c.opset < 13:
        return Node([x], {} if axes is None else {"axes": axes})
    return Node([x, None if axes is None else ints(*axes)], {}, frozenset({1}))


def _unsqueeze(c: Choice) -> Node | None:
    axes, rank = c["axes"], c.rank + len(c["axes"])
    if any(not -rank <= axis < rank for axis in axes) or len({axis % rank for axis in axes}) < len(axes):
        return None
    return Node([c.data()], {"axes": axes}) if c.opset < 13 else Node([c.data(), ints(*axes)], {}, frozenset({1}))


def _transpose(c: Choice) -> Node | None:
    order = list(range(c.rank))
    perms = {
        "default": None,
        "rotated": order[1:] + order[:1],
        "last two": [*order[:-2], *order[-2:][::-1]],
        "same": order,
    }
    perm = perms[c["perm"]]
    return Node([c.data()], {} if perm is None else {"perm": perm}) if c.rank or perm is None else None


def _concat(c: Choice) -> Node | None:
    axis = axis_of(c)
    if axis is None:
        return None
    shapes = [list(c.shape()) for _ in range(c["count"])]
    for number, shape in enumerate(shapes):
        shape[axis] += number
    return Node([c.data(shape) for shape in shapes], {"axis": axis}, frozenset(c["constant"]))


def _split(c: Choice) -> Node | None:
    axis = 0 if c["axis"] is None else axis_of(c)
    if axis is None or not c.rank:
        return None
    shape = list(c.shape())
    said = attributes(c, "axis")
    count = c["count"]
    match c["parts"]:
        case "equal":
            shape[axis] = 2 * count
            return Node([c.data(shape)], said | ({"num_outputs": count} if c.opset >= 18 else {}), outputs=count)
        case "uneven":
            shape[axis] = 2 * count - 1
            return Node([c.data(shape)], said | {"num_outputs": count}, outputs=count) if c.opset >= 18 else None
    parts = list(range(1, count + 1))
    shape[axis] = sum(parts)
    if c.opset < 13:
        return Node([c.data(shape)], said | {"split": parts}, outputs=count)
    return Node([c.data(shape), ints(*parts)], said, frozenset({1}), count)


def _slice(c: Choice) -> Node | None:
    huge = np.iinfo(np.int64).max
    starts, ends, steps = {
        "inside": (1, -1, 1),
        "all": (0, huge, 1),
        "beyond": (-100, 100, 1),
        "every second": (0, huge, 2),
        "backwards": (-1, -huge, -1),
        "backwards by two": (huge, -huge, -2),
        "none": (2, 1, 1),
    }[c["range"]]
    axes = c["axes"]
    if not c.rank or any(not -c.rank <= axis < c.rank for axis in axes or []):
        return None
    count = c.rank if axes is None else len(axes)
    if c.opset < 10:
        said = {"starts": [starts] * count, "ends": [ends] * count} | ({} if axes is None else {"axes": axes})
        return Node([c.data()], said) if steps == 1 else None
    listed = [np.array([n] * count, np.int64) for n in (starts, ends)]
    rest = [None if axes is None else ints(*axes), None if steps == 1 and c["bare"] else ints(*[steps] * count)]
    return Node([c.data(), *listed, *rest], {}, frozenset({1, 2, 3, 4}))


def _gather(c: Choice) -> Node | None:
    axis = 0 if c["axis"] is None else axis_of(c)
    if axis is None or not c.rank:
        return None
    places = c.indices(c.shape()[axis], c["places"], c["index"])
    return Node([c.data(), places], attributes(c, "axis"), frozenset({1}) if c["fixed"] else frozenset())


def _gather_elements(c: Choice) -> Node | None:
    axis = 0 if c["axis"] is None else axis_of(c)
    if axis is None or not c.rank:
        return None
    shape = list(c.shape())
    limit, shape[axis] = shape[axis], min(2, shape[axis])
    places = c.indices(limit, shape, c["index"])
    return Node([c.data(), places], attributes(c, "axis"), frozenset({1}) if c["fixed"] else frozenset())


def _scatter_elements(c: Choice) -> Node | None:
    axis = 0 if c["axis"] is None else axis_of(c)
    if axis is None or not c.rank:
        return None
    shape = list(c.shape())
    limit = shape[axis]
    shape[axis] = min(2, limit)
    if (c.get("reduction") or "none") == "none":  # equal places would be written in any order
        places = np.zeros(shape, c["index"])
        places += (
            np.arange(shape[axis])
            .reshape([-1 if at == axis % c.rank else 1 for at in range(c.rank)])
            .astype(places.dtype)
        )
        places -= limit if c["negative"] else 0
    else:
        places = c.indices(limit, shape, c["index"])
    said = attributes(c, "axis", "reduction")
    return Node([c.data(), places, c.data(shape)], said, frozenset({1}) if c["fixed"] else frozenset())


def _gather_nd(c: Choice) -> Node | None:
    batch, depth = c["batch_dims"] or 0, c["depth"]
    shape = c.shape()
    if batch + depth > c.rank or not depth:
        return None
    lead = shape[:batch]
    places = np.stack([c.indices(size, (*lead, 2)) for size in shape[batch : batch + depth]], -1)
    return Node([c.data(), places], attributes(c, "batch_dims"), frozenset({1}) if c["fixed"] else frozenset())


def _scatter_nd(c: Choice) -> Node | None:
    depth, shape = c["depth"], c.shape()
    if not 0 < depth <= c.rank or not prod(shape):
        return None
    count = min(2, prod(shape[:depth]))
    flat = c.rng.choice(prod(shape[:depth]), count, replace=False)
    places = np.stack(np.unravel_index(flat, shape[:depth]), -1).astype(np.int64)
    if c["negative"]:
        places = places - np.array(shape[:depth])
    said = attributes(c, "reduction")
    return Node(
        [c.data(), places, c.data((count, *shape[depth:]))], said, frozenset({1}) if c["fixed"] else frozenset()
    )


def _pad(c: Choice) -> Node | None:
    if not c.rank:
        return None
    amounts = {"both": (1, 1), "before": (2, 0), "none": (0, 0), "crop": (-1, 1), "cut": (1, -1)}[c["amount"]]
    mode = c["mode"] or "constant"
    said = {} if c["mode"] is None else {"mode": mode}
    axes = c["axes"]
    if any(not -c.rank <= axis < c.rank for axis in axes or []):
        return None
    if mode == "reflect" and min(c.shape(), default=0) < 3 and amounts != (0, 0):
        return None
    count = c.rank if axes is None else len(axes)
    pads = [amounts[0]] * count + [amounts[1]] * count
    if c.opset < 11:
        value = {} if c["value"] is None or mode != "constant" else {"value": float(c["value"])}
        return Node([c.data()], said | {"pads": pads} | value) if axes is None else None
    value_in = None if c["value"] is None or mode != "constant" else np.array(c["value"], c.dtype)
    rest = [] if axes is None else [ints(*axes)]
    return Node([c.data(), ints(*pads), value_in, *rest], said, frozenset({1, 3, 2} if c["fixed"] else {1, 3}))


def _tile(c: Choice) -> Node | None:
    repeats = [(2, 1, 3, 1, 2), (1,) * 5][c["repeats"]][: c.rank]
    return Node([c.data(), ints(*repeats)], {}, frozenset({1}))


def _expand(c: Choice) -> Node | None:
    shape = c.shape()
    narrow = tuple(1 if at % 2 else size for at, size in enumerate(shape))
    target = {"more": (3, *shape), "ones": (1,), "same": shape, "both": (2, *(1,) * len(shape))}[c["target"]]
    return Node([c.data(narrow), ints(*target)], {}, frozenset({1}))


def _shape(c: Choice) -> Node:
    return Node([c.data()], attributes(c, "start", "end"))


def _size(c: Choice) -> Node:
    return Node([c.data()])


def _blocks(c: Choice) -> Node | None:
    size = c["blocksize"]
    return Node([c.data((2, 2 * size * size, 2 * size, 3 * size))], {"blocksize": size} | attributes(c, "mode"))


def _one_hot(c: Choice) -> Node | None:
    axis = c["axis"]
    if axis is not None and not -c.rank - 1 <= axis <= c.rank:
        return None
    places = c.rng.integers(-4, 6, c.shape()).astype(c.dtype)
    values = np.array([0, 1] if c["values"] == "bool" else [3, 7], c["values"])
    return Node([places, np.array(5, c["index"]), values], attributes(c, "axis"), frozenset({1, 2}))


def _trilu(c: Choice) -> Node | None:
    if c.rank < 2:
        return None
    return Node([c.data(), None if c["k"] is None else np.array(c["k"])], attributes(c, "upper"), frozenset({1}))


def _eye_like(c: Choice) -> Node | None:
    return Node([c.data()], attributes(c, "k")) if c.rank == 2 else None


def _reverse(c: Choice) -> Node | None:
    if c.rank < 2:
        return None
    batch = 1 - c["time_axis"]
    if not c.shape()[c["time_axis"]]:
        return None
    lengths = c.rng.integers(1, c.shape()[c["time_axis"]] + 1, c.shape()[batch])
    return Node([c.data(), lengths.astype(np.int64)], {"time_axis": c["time_axis"], "batch_axis": batch})


def _range(c: Choice) -> Node:
    bounds = {"up": (1, 9, 2), "down": (9, 1, -3), "one": (2, 3, 5)}[c["bounds"]]
    return Node([np.array(n, c.dtype) for n in bounds], {}, frozenset({0, 1, 2}))


def _dropout(c: Choice) -> Node | None:
    said = {} if c["ratio"] is None or c.opset >= 12 else {"ratio": c["ratio"]}
    rest = [np.array(c["ratio"], np.float32)] if c["ratio"] is not None and c.opset >= 12 else []
    return Node([c.data(), *rest], said, frozenset({1}), c["outputs"])


def _compress(c: Choice) -> Node | None:
    if not c.rank:
        return None
    axis = c["axis"]
    if axis is not None and not -c.rank <= axis < c.rank:
        return None
    mask = np.array([True, False, True])[: c.shape()[axis] if axis is not None else 3]
    return Node([c.data(), mask], attributes(c, "axis"), frozenset({1}))


_INDEX: dict[str, Levels] = {"index": ("int64", "int32"), "fixed": (False, True)}

OPERATORS = [
    Operator(
        "Reshape",
        {"rank": RANKS, "target": ("flat", "kept", "rest", "reverse", "scalar", "more"), "allowzero": (None, 0, 1)},
        _reshape,
    ),
    Operator("Flatten", {"rank": RANKS, "axis": (None, *AXIS, 5)}, _flatten),
    Operator("Squeeze", {"rank": RANKS, "axes": (None, [0], [-1], [1], [-2], [0, -1], [2, 0])}, _squeeze),
    Operator("Unsqueeze", {"rank": RANKS[:-1], "axes": ([0], [-1], [1], [-2], [0, -1], [2, 0], [1, 3])}, _unsqueeze),
    Operator("Transpose", {"rank": RANKS, "perm": ("default", "rotated", "last two", "same")}, _transpose),
    Operator("Concat", {"rank": RANKS, "axis": AXIS, "count": (2, 1, 3), "constant": ((), (0,))}, _concat),
    Operator(
        "Split",
        {"rank": RANKS, "axis": (None, *AXIS), "parts": ("equal", "listed", "uneven"), "count": (2, 3, 1)},
        _split,
    ),
    Operator(
        "Slice",
        {
            "rank": RANKS,
            "axes": (None, [0], [-1], [1], [-2], [0, -1]),
            "range": ("inside", "all", "beyond", "every second", "backwards", "backwards by two", "none"),
            "bare": (True, False),
        },
        _slice,
    ),
    Operator("Gather", {"rank": RANKS, "axis": (None, *AXIS), "places": ((2, 3), (), (4,)), **_INDEX}, _gather),
    Operator("GatherElements", {"rank": RANKS, "axis": (None, *AXIS), **_INDEX}, _gather_elements),
    Operator("Scatter", {"rank": RANKS, "axis": (None, *AXIS), "negative": (False,), **_INDEX}, _scatter_elements),
    Operator(
        "ScatterElements",
        {
            "rank": RANKS,
            "axis": (None, *AXIS),
            "reduction": (None, "none", "add", "mul", "min", "max"),
            "negative": (False, True),
            **_INDEX,
        },
        _scatter_elements,
    ),
    Operator(
        "GatherND",
        {"rank": RANKS, "batch_dims": (None, 0, 1, 2), "depth": (1, 2, 3), "fixed": (False, True)},
        _gather_nd,
    ),
    Operator(
        "ScatterND",
        {
            "rank": RANKS,
            "depth": (1, 2, 3),
            "reduction": (None, "none", "add", "mul", "min", "max"),
            "negative": (False, True),
            "fixed": (False, True),
        },
        _scatter_nd,
    ),
    Operator(
        "Pad",
        {
            "rank": RANKS,
            "mode": (None, "constant", "reflect", "edge", "wrap"),
            "amount": ("both", "before", "none", "crop", "cut"),
            "value": (None, 3),
            "axes": (None, [-1], [0], [1, -1]),
            "fixed": (True, False),
        },
        _pad,
    ),
    Operator("Tile", {"rank": RANKS, "repeats": (0, 1)}, _tile),
    Operator("Expand", {"rank": RANKS, "target": ("more", "ones", "same", "both")}, _expand),
    Operator("Shape", {"rank": RANKS, "start": (None, 0, 1, -2, 9), "end": (None, 2, -1, 9)}, _shape),
    Operator("Size", {"rank": RANKS}, _size),
    Operator("DepthToSpace", {"blocksize": (2, 1, 3), "mode": (None, "DCR", "CRD")}, _blocks),
    Operator("SpaceToDepth", {"blocksize": (2, 1, 3), "mode": (None, "DCR", "CRD")}, _blocks),
    Operator(
        "OneHot",
        {
            "rank": RANKS,
            "axis": (None, *AXIS),
            "values": ("float32", "int32", "int64", "bool"),
            "index": ("int64", "int32", "float32"),
        },
        _one_hot,
    ),
    Operator("Trilu", {"rank": RANKS, "upper": (None, 0, 1), "k": (None, 0, 1, -1, 9, -9)}, _trilu),
    Operator("EyeLike", {"rank": (2,), "k": (None, 0, 1, -1)}, _eye_like),
    Operator("ReverseSequence", {"rank": RANKS, "time_axis": (0, 1)}, _reverse),
    Operator("Range", {"bounds": ("up", "down", "one")}, _range),
    Operator("Dropout", {"rank": RANKS, "ratio": (None, 0.3), "outputs": (1, 2)}, _dropout),
    Operator("Compress", {"rank": RANKS, "axis": (None, *AXIS)}, _compress),
]
