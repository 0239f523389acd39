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


def remedy(node: ir.Node) -> str:
    """What to do about `node`, which has no lowering."""
    if node.domain not in ("", "ai.onnx"):
        return "export the model with standard operators"
    return REMEDIES.get(node.op_type, GENERAL)


def shape_remedy(node: ir.Node) -> str:
    """What to do about `node`, whose outputs have sizes that only a run tells."""
    if node.op_type == "If" and node.inputs[0] is not None:
        deciding = ", ".join(repr(name) for name in sorted(_sources(node.inputs[0])))
        return f"export the model for one value of {deciding}: that chooses between the branches"
    if node.op_type in REMEDIES:
        return REMEDIES[node.op_type]
    return "where an input decides the shape, make it a constant of the model; else end the model before it"


def _sources(value: ir.Value) -> set[str]:
    """Names of the graph inputs that `value` is computed from."""
    seen: set[ir.Value] = set()
    pending = [value]
    while pending:
        value = pending.pop()
        if value not in seen:
            seen.add(value)
            producer = value.producer()
            pending += [read for read in (producer.inputs if producer else ()) if read is not None]
    return {value.name or "" for value in seen if value.is_graph_input()}
