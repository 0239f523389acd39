"""ONNX operators that become Relax here, because TVM's importer changes what they compute.

What is written as Relax fuses with its neighbours, as what TVM imports itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx.onnx_frontend import ONNXGraphImporter

from edgesparse.backends.cpu.kernel import Tensor
from edgesparse.errors import LowerError
from edgesparse.numerics import element

Converter = Callable[[relax.BlockBuilder, Sequence[relax.Expr], Mapping[str, Any]], relax.Expr]


def import_model(model: onnx.ModelProto, values: Mapping[str, Tensor]) -> tvm.IRModule:
    """The Relax module of an ONNX model.

    Args:
        values: what the model's nodes compute, by name.

    Raises: LowerError: TVM would compute another type or shape for one of them.
    """
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    importer = _Importer(None, "float32")
    try:
        module = importer.from_onnx(model.graph, opset)
    except Exception:
        importer.abandon()
        raise
    for name, value in values.items():
        found = getattr(importer.computed(name), "ty", None)
        if not isinstance(found, relax.TensorType):
            continue
        computed = Tensor(value.name, tuple(map(int, found.shape)), element(str(found.dtype)))
        if computed != value:
            raise LowerError(
                f"TVM computes {value.name!r} as {computed.dtype} {list(computed.shape)}, "
                f"expected {value.dtype} {list(value.shape)}"
            )
    return module


class _Importer(ONNXGraphImporter):  # type: ignore[misc]
    """TVM's importer, with converters of ours before its own."""

    def computed(self, name: str) -> object:
        """What stands for a value of the model; None where nothing computes it."""
        return self._nodes.get(name)

    def abandon(self) -> None:
        """Close what is open: TVM tells on stderr of blocks that nobody has ended."""
        with contextlib.suppress(tvm.error.InternalError):
            while True:
                self.bb._end_block()

    def _convert_operator(
        self, op_name: str, inputs: list[relax.Expr], attrs: dict[str, Any], opset: int
    ) -> relax.Expr:
        converter = CONVERTERS.get(op_name)
        if converter is None:
            return super()._convert_operator(op_name, inputs, attrs, opset)
        return self.bb.normalize(converter(self.bb, inputs, attrs))


def _cast(_: relax.BlockBuilder, inputs: Sequence[relax.Expr], attributes: Mapping[str, Any]) -> relax.Expr:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])
    return relax.op.astype(inputs[0], str(dtype))


def _cast_like(_: relax.BlockBuilder, inputs: Sequence[relax.Expr], _a: Mapping[str, Any]) -> relax.Expr:
    return relax.op.astype(inputs[0], inputs[1].ty.dtype)


def _sign(bb: relax.BlockBuilder, inputs: Sequence[relax.Expr], _: Mapping[str, Any]) -> relax.Expr:
    """The sign of NaN is NaN, and 0 in half precision, as in ONNX Runtime."""
    x, dtype = inputs[0], str(inputs[0].ty.dtype)
    if dtype.startswith("u"):
        return relax.op.minimum(x, relax.const(1, dtype))
    sign = relax.op.sign(x)
    return relax.op.where(relax.op.isnan(x), x, sign) if dtype in ("float32", "float64") else sign


def _pairwise(operator: Callable[[relax.Expr, relax.Expr], relax.Expr]) -> Converter:
    """TVM would stack the operands in memory."""

    def convert(bb: relax.BlockBuilder, inputs: Sequence[relax.Expr], _: Mapping[str, Any]) -> relax.Expr:
        return reduce(lambda a, b: bb.normalize(operator(a, b)), inputs)

    return convert


CONVERTERS: dict[str, Converter] = {
    "Cast": _cast,
    "CastLike": _cast_like,
    "Max": _pairwise(relax.op.maximum),
    "Min": _pairwise(relax.op.minimum),
    "Sign": _sign,
    "Sum": _pairwise(relax.op.add),
}
