"""Operators along axes: reductions, softmax, normalisations, running sums, sorting."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.sweeps.case import Node
from tests.sweeps.elementwise import RANKS, attributes
from tests.sweeps.operators import Choice, Levels, Operator, axes_of, ints

AXIS = (1, *(axis for axis in axes_of(5) if axis != 1))

REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")


def axis_of(c: Choice, name: str = "axis") -> int | None:
    """The axis of the row, None where the tensor has no such axis."""
    axis = c[name]
    return axis if axis is None or -c.rank <= axis < c.rank else None


def _reduce(operator: str) -> Any:
    by_input = 13 if operator == "ReduceSum" else 18

    def build(c: Choice) -> Node | None:
        wanted = {"none": None, "empty": [], "all": list(range(c.rank)), "outer": [0, -1], "inner": [1, -2]}
        axes = wanted[c["axes"]] if isinstance(c["axes"], str) else [c["axes"]]
        if axes and (min(axes) < -c.rank or max(axes) >= c.rank or len({a % c.rank for a in axes}) < len(axes)):
            return None
        said: dict[str, Any] = attributes(c, "keepdims")
        x = c.data(low=0.1) if "Log" in operator and c.dtype.kind == "f" else c.data()
        if c.opset < by_input:
            if axes == [] or c["noop"] is not None:
                return None
            return Node([x], said | ({} if axes is None else {"axes": axes}))
        if c["noop"] is not None:
            said["noop_with_empty_axes"] = c["noop"]
        return Node([x, None if axes is None else ints(*axes)], said, frozenset({1}))

    return build


def _arg(c: Choice) -> Node | None:
    if (c["axis"] is not None and axis_of(c) is None) or (not c.rank and c.dtype != np.float32):
        return None
    x = c.data()
    return Node([x.astype(c.dtype)], attributes(c, "axis", "keepdims", "select_last_index"))


def _softmax(c: Choice) -> Node | None:
    if c["axis"] is not None and axis_of(c) is None:
        return None
    if c["axis"] is None and c.opset < 13 and c.rank < 2:  # 1 is the default, and no axis of these
        return None
    return Node([c.data()], attributes(c, "axis"))


def _layer_norm(c: Choice) -> Node | None:
    axis = -1 if c["axis"] is None else axis_of(c)
    if axis is None or not c.rank:
        return None
    scale = _scale(c, axis)
    said = attributes(c, "axis", "epsilon", "stash_type")
    return Node(
        [c.data(), scale, c.data(scale.shape) if c["bias"] else None], said, frozenset(c["constant"]), c["outputs"]
    )


def _scale(c: Choice, axis: int) -> np.ndarray:
    """One number for each element that is normalised together, or for each of some other axes."""
    shape = tuple(c.shape())
    normal = shape[axis:]
    shapes = {
        "full": normal,
        "last": (*[1] * (len(normal) - 1), *normal[-1:]),
        "other": (*shape[:-1], 1),
        "every": shape,
    }
    return c.data(shapes[c["scale"]])


def _rms_norm(c: Choice) -> Node | None:
    axis = -1 if c["axis"] is None else axis_of(c)
    if axis is None or not c.rank:
        return None
    return Node([c.data(), _scale(c, axis)], attributes(c, "axis", "epsilon", "stash_type"), frozenset(c["constant"]))


def _channels(c: Choice) -> int:
    return c.shape()[1]


def _batch_norm(c: Choice) -> Node | None:
    if c.rank < 2 or (c["spatial"] is not None and c.opset >= 9):
        return None
    shape = c.shape()[1:] if c["spatial"] == 0 else c.shape()[1:2]
    rest = [c.data(shape), c.data(shape), c.data(shape), c.data(shape, low=0.2)]
    return Node([c.data(), *rest], attributes(c, "epsilon", "momentum", "spatial"), frozenset(c["constant"]))


def _instance_norm(c: Choice) -> Node | None:
    if c.rank < 3:
        return None
    channels = (_channels(c),)
    return Node([c.data(), c.data(channels), c.data(channels)], attributes(c, "epsilon"), frozenset(c["constant"]))


def _group_norm(c: Choice) -> Node | None:
    if c.rank < 3:
        return None
    shape = list(c.shape())
    shape[1] = 6 if shape[1] == 3 else shape[1]
    groups = c["groups"]
    if shape[1] % groups:
        return None
    scales = (groups,) if c.opset < 21 else (shape[1],)
    said = attributes(c, "epsilon") | {"num_groups": groups}
    return Node([c.data(shape), c.data(scales), c.data(scales)], said, frozenset(c["constant"]))


def _lp_norm(c: Choice) -> Node | None:
    if c["axis"] is not None and axis_of(c) is None:
        return None
    return Node([c.data()], attributes(c, "axis", "p"))


def _lrn(c: Choice) -> Node | None:
    return Node([c.data()], {"size": c["size"]} | attributes(c, "alpha", "beta", "bias")) if c.rank > 2 else None


def _mvn(c: Choice) -> Node | None:
    axes = c["axes"]
    if c.rank < 4 and axes is None:
        return None
    return None if axes is not None and max(axes) >= c.rank else Node([c.data()], attributes(c, "axes"))


def _cumulative(c: Choice) -> Node | None:
    axis = axis_of(c)
    if axis is None:
        return None
    return Node([c.data(), np.array(axis, c["index"])], attributes(c, "exclusive", "reverse"), frozenset({1}))


def _top_k(c: Choice) -> Node | None:
    if c["axis"] is not None and axis_of(c) is None:
        return None
    if not c.rank:
        return None
    size = c.shape()[-1 if c["axis"] is None else c["axis"]]
    k = {"one": min(1, size), "some": min(2, size), "all": size}[c["k"]]
    x = c.data()
    if x.dtype.kind == "f":  # ties would be answered in any order
        x = c.rng.permutation(x.size).reshape(x.shape).astype(x.dtype)
    said = attributes(c, "axis", "largest", "sorted")
    if said.get("sorted") == 0:
        return None  # any order is right
    if c.opset < 10:
        return Node([x], said | {"k": k}, outputs=2)
    return Node([x, ints(k)], said, frozenset({1}), 2)


_NORM: dict[str, Levels] = {"epsilon": (None, 0.1), "constant": ((1, 2), (), (1,))}
_AXES: Levels = ("none", "empty", "all", "outer", "inner", *range(-5, 5))

OPERATORS = [
    *(
        Operator(
            f"Reduce{name}",
            {"rank": RANKS, "axes": _AXES, "keepdims": (None, 0, 1), "noop": (None, 0, 1)},
            _reduce(f"Reduce{name}"),
        )
        for name in REDUCTIONS
    ),
    *(
        Operator(
            name,
            {"rank": RANKS, "axis": (None, *AXIS), "keepdims": (None, 0, 1), "select_last_index": (None, 0, 1)},
            _arg,
        )
        for name in ("ArgMax", "ArgMin")
    ),
    *(
        Operator(name, {"rank": RANKS, "axis": (None, *AXIS)}, _softmax)
        for name in ("Hardmax", "LogSoftmax", "Softmax")
    ),
    Operator(
        "LayerNormalization",
        {
            "rank": RANKS,
            "axis": (None, *AXIS),
            "bias": (True, False),
            "scale": ("full", "last", "other", "every"),
            "stash_type": (None, 1),
            "outputs": (1, 3),
            **_NORM,
        },
        _layer_norm,
    ),
    Operator(
        "RMSNormalization",
        {
            "rank": RANKS,
            "axis": (None, *AXIS),
            "scale": ("full", "last", "other", "every"),
            "stash_type": (None, 1),
            **_NORM,
        },
        _rms_norm,
    ),
    Operator(
        "BatchNormalization", {"rank": RANKS, "momentum": (None, 0.5), "spatial": (None, 0, 1), **_NORM}, _batch_norm
    ),
    Operator("InstanceNormalization", {"rank": RANKS, **_NORM}, _instance_norm),
    Operator("GroupNormalization", {"rank": RANKS, "groups": (2, 1, 3, 6), **_NORM}, _group_norm),
    Operator("LpNormalization", {"rank": RANKS, "axis": (None, *AXIS), "p": (None, 1, 2)}, _lp_norm),
    Operator(
        "LRN",
        {"rank": RANKS, "size": (3, 1, 2, 5), "alpha": (None, 0.1), "beta": (None, 0.5), "bias": (None, 2.0)},
        _lrn,
    ),
    Operator("MeanVarianceNormalization", {"rank": RANKS, "axes": (None, [0], [1], [0, 1], [0, 2, 3], [2])}, _mvn),
    *(
        Operator(
            name,
            {
                "rank": RANKS,
                "axis": AXIS,
                "exclusive": (None, 0, 1),
                "reverse": (None, 0, 1),
                "index": ("int64", "int32"),
            },
            _cumulative,
        )
        for name in ("CumSum", "CumProd")
    ),
    Operator(
        "TopK",
        {
            "rank": RANKS,
            "axis": (None, *AXIS),
            "k": ("some", "one", "all"),
            "largest": (None, 0, 1),
            "sorted": (None, 1),
        },
        _top_k,
    ),
]
