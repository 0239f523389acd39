"""edgesparse as a backend of `onnx.backend.base`: compile for this machine, run with the Python runtime.

Shapes in a compiled model are static. An input that decides a shape (the `shape` of Reshape, the `k` of TopK, ...) is
therefore frozen to its value at the first run, and the model is compiled then; running the same `prepare`d model with
another value, or with inputs of other shapes, compiles it again.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

SHAPE_INPUTS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "Compress": (1,),
    "ConstantOfShape": (0,),
    "CumProd": (1,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "NonMaxSuppression": (2, 3, 4),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
    **dict.fromkeys(
        [
            "ReduceL1",
            "ReduceL2",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSum",
            "ReduceSumSquare",
        ],
        (1,),
    ),
}
"""Inputs by operator and position whose value, not only their shape, decides the shape or axis of the result."""

_SHAPE_ONLY = frozenset({"Shape", "Size"})


def deciding_inputs(graph: onnx.GraphProto) -> set[str]:
    """Names of the graph inputs whose values decide shapes, directly or through other nodes."""
    producers = {name: node for node in graph.node for name in node.output}
    pending = list(_deciding_values(graph))
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in producers and producers[name].op_type not in _SHAPE_ONLY:
            pending.extend(producers[name].input)
    return {value.name for value in graph.input if value.name in seen}


def _deciding_values(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        for position in SHAPE_INPUTS.get(node.op_type, ()):
            if position < len(node.input) and node.input[position]:
                yield node.input[position]
