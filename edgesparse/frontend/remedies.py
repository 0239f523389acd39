"""What a user can do about an operator that cannot be compiled."""

from __future__ import annotations

import onnx_ir as ir

GENERAL = "end the model before it, and compute the rest outside"

_WRITTEN_OUT = "export the loop written out, for the number of steps that is wanted"
_OUTSIDE = "make what it draws an input of the model"
_SPECTRUM = "compute it before the model, and make it an input; or write it as a MatMul with constant weights"

REMEDIES = {
    "Attention": "export it written out: MatMul, Softmax, MatMul",
    "Col2Im": "write it as a ConvTranspose with constant weights of ones and zeros",
    "DFT": _SPECTRUM,
    "Loop": _WRITTEN_OUT,
    "MelWeightMatrix": "make the matrix a constant of the model",
    "NonMaxSuppression": "end the model before it, and choose among the boxes that it gives",
    "STFT": _SPECTRUM,
    "Scan": _WRITTEN_OUT,
    **dict.fromkeys(
        ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), _OUTSIDE
    ),
}


_DECIDING = {
    **dict.fromkeys(("ConstantOfShape", "If"), (0,)),
    **dict.fromkeys(
        ("CenterCropPad", "Expand", "OneHot", "Pad", "Reshape", "Split", "Squeeze", "Tile", "TopK", "Unsqueeze"), (1,)
    ),
    "Range": (0, 1, 2),
    "Resize": (2, 3),
    "Slice": (1, 2, 3, 4),
}
"""Operands that decide the shape, or which branch: where they are constant, it is known."""


def remedy(node: ir.Node) -> str:
    """What to do about `node`, which has no lowering."""
    if node.domain not in ("", "ai.onnx"):
        return "export the model with standard operators"
    return shape_remedy(node)


def shape_remedy(node: ir.Node) -> str:
    """What to do about `node`, whose outputs have sizes that only a run tells."""
    return _binding(node) or REMEDIES.get(node.op_type, GENERAL)


def _binding(node: ir.Node) -> str | None:
    """How to bind the inputs that decide what `node` does; None where data decide it."""
    decide = _DECIDING.get(node.op_type, ())
    read = [node.inputs[place] for place in decide if place < len(node.inputs)]
    inputs = {each.name: each for value in read if value is not None for each in _sources(value)}
    if not inputs or any(value.dtype is None or value.dtype.is_floating_point() for value in inputs.values()):
        return None
    options = " ".join(f"--bind {name}=VALUE" for name in sorted(map(str, inputs)))
    return f"if it is always the same, give {options}"


def _sources(value: ir.Value) -> set[ir.Value]:
    """The graph inputs that `value` is computed from."""
    seen: set[ir.Value] = set()
    pending = [value]
    while pending:
        value = pending.pop()
        if value not in seen:
            seen.add(value)
            producer = value.producer()
            pending += [read for read in (producer.inputs if producer else ()) if read is not None]
    return {value for value in seen if value.is_graph_input()}
