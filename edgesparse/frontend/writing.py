"""Write out an operator in place: nodes in front of it, the last of which gives what it gave."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgesparse.errors import FrontendError
from edgesparse.frontend.fold import constant
from edgesparse.frontend.quantization import DEQUANTIZE, QUANTIZE
from edgesparse.nodes import told

CONTRIB = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


class Writer:
    """Takes `node` apart; `is_done` is called last."""

    def __init__(self, node: ir.Node) -> None:
        self.node, self.count = node, 0

    def operand(self, at: int | None) -> ir.Value | None:
        """The operand at that place, if it is there."""
        return self.node.inputs[at] if at is not None and at < len(self.node.inputs) else None

    def require(self, *places: int) -> None:
        """Check that operands are there.

        Raises: FrontendError: one is not.
        """
        for at in places:
            if self.operand(at) is None:
                raise FrontendError(f"{told(self.node)}: input {at} is missing, expected {len(places)} or more")

    def add(self, operator: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
        """The first output of a new node of the standard."""
        return self.many(operator, 1, *inputs, **attributes)[0]

    def many(self, operator: str, outputs: int, *inputs: ir.Value | None, **attributes: object) -> list[ir.Value]:
        """The outputs of a new node of the standard."""
        step = ir.node(
            operator,
            inputs,
            attributes=attributes,  # type: ignore[arg-type]
            num_outputs=outputs,
            name=f"{self.node.name}_{operator}_{self.count}",
        )
        for at, value in enumerate(step.outputs):
            value.name = f"{step.name}_{at}" if at else step.name
        self.node.prepend(step)
        self.count += 1
        return list(step.outputs)

    def layer(self, operator: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
        """As `add`, under the name of the node that is taken apart."""
        value = self.add(operator, *inputs, **attributes)
        value.producer().name = self.node.name  # type: ignore[union-attr]
        return value

    def constant(self, array: np.ndarray) -> ir.Value:
        """A constant in front of the node."""
        return self.add("Constant", value=ir.tensor(array))

    def dequantized(self, x: int | None, scale: ir.Value | None, zero: ir.Value | None, axis: int = 0) -> ir.Value:
        """Operand `x` as floats."""
        scale, zero = self._alike(scale, zero)
        return self.add(DEQUANTIZE, self.operand(x), scale, *([] if zero is None else [zero]), axis=axis)

    def quantized(self, y: ir.Value, scale: int, zero: int, like: int) -> ir.Value:
        """The floats `y` as they are stored; without a zero point in the type of operand `like`."""
        of, at = self._alike(self.operand(scale), self.operand(zero))
        if at is None:
            at = self.add("CastLike", self.constant(np.array(0, np.uint8)), self.operand(like))
        return self.add(QUANTIZE, y, of, at)

    def _alike(self, scale: ir.Value | None, zero: ir.Value | None) -> tuple[ir.Value | None, ir.Value | None]:
        """Constant scales and zero points of one shape, where one of the two stands for many."""
        of, at = constant(scale), constant(zero)
        if of is None or at is None or of.shape == at.shape or 1 not in (of.size, at.size):
            return scale, zero
        shape = of.shape if of.size > 1 else at.shape if at.size > 1 else ()
        if of.shape != shape:
            scale = self.constant(np.broadcast_to(of.reshape(-1), shape) if shape else of.reshape(()))
        if at.shape != shape:
            zero = self.constant(np.broadcast_to(at.reshape(-1), shape) if shape else at.reshape(()))
        return scale, zero

    def end(self, *values: ir.Value) -> None:
        """Give `values` in the place of what the node gave, and remove it."""
        outputs = list(self.node.outputs)
        names = [value.name for value in outputs]
        for old, new in zip(outputs, values, strict=False):
            new.type, new.shape = old.type or new.type, old.shape or new.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
        assert self.node.graph is not None
        self.node.graph.remove(self.node, safe=True)
        for old, new, name in zip(outputs, values, names, strict=False):
            old.name, new.name = None, name
