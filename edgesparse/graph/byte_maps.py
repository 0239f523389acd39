"""Functions from bytes to bytes: what a group of one operand does to each of the 256 numbers that it may read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from edgesparse import reference
from edgesparse.graph.groups import Group

STEPS_TRIED = 8  # float32 numbers on either side of the ratio of the scales


@dataclass(frozen=True)
class Affine:
    """y = clamp(round((x - start) * scale) + zero, low, high), to nearest even, in float32."""

    start: int
    scale: float
    zero: int
    low: int
    high: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The function of int32 numbers."""
        scaled = np.rint((x - self.start).astype(np.float32) * np.float32(self.scale)).astype(np.int64)
        return np.clip(scaled + self.zero, self.low, self.high)

    def moved(self, before: int, behind: int) -> Affine:
        """The same function where x and y are stored with so much added."""
        return Affine(self.start + before, self.scale, self.zero + behind, self.low + behind, self.high + behind)


def domain(group: Group) -> np.ndarray:
    """The numbers that the operand of a group may be, ascending."""
    low, high = group.operands[0].by.limits
    return np.arange(low, high + 1)


def table_of(group: Group, opsets: dict[str, int]) -> np.ndarray:
    """What a group gives for each number of its domain, as ONNX Runtime computes it."""
    node, behind = group.operands[0].node, group.result.nodes
    numbers = domain(group).astype(group.operands[0].by.element.numpy)
    nodes = [node, group.node, *behind]
    read = {value for each in nodes for value in each.inputs if value is not None}
    kind = onnx.helper.np_dtype_to_tensor_dtype(numbers.dtype)
    given, output = str(node.inputs[0].name), str(group.output.name)  # type: ignore[union-attr]
    graph = onnx.helper.make_graph(
        [ir.to_proto(each) for each in nodes],
        "table",
        [onnx.helper.make_tensor_value_info(given, kind, [len(numbers)])],
        [onnx.helper.make_empty_tensor_value_info(output)],
        [onnx.numpy_helper.from_array(value.const_value.numpy(), value.name) for value in read if value.const_value],
    )
    imports = [onnx.helper.make_opsetid(name, version) for name, version in opsets.items()]
    proto = onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)
    found: np.ndarray = reference.evaluate(proto, {given: numbers})[output]
    return found.astype(np.int32)


def affine_of(group: Group, table: np.ndarray) -> Affine | None:
    """The multiplication that gives every entry of the table; None where none of those tried does."""
    operand, by = group.operands[0].by, group.result.by
    assert by is not None
    numbers, low, high = domain(group), int(table.min()), int(table.max())
    for scale in _near(np.float32(operand.scale / by.scale)):
        found = Affine(int(operand.zero), float(scale), int(by.zero), low, high)
        if np.array_equal(found(numbers), table):
            return found
    return None


def _near(ratio: np.float32) -> Iterator[np.float32]:
    yield ratio
    for end in (np.float32(np.inf), np.float32(0)):
        near = ratio
        for _ in range(STEPS_TRIED):
            near = np.nextafter(near, end)
            yield near
