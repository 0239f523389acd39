"""A case of a sweep: one node, its operands, and the model that holds nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Operand = np.ndarray | None
Operands = Sequence[Operand]


@dataclass(frozen=True, eq=False)
class Node:
    """What a node reads and says.

    `constants` are the positions of the inputs that are initializers; `slack` is how far integers may be off that are
    cut off from sums in float32.
    """

    inputs: Operands
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: frozenset[int] = frozenset()
    outputs: int = 1
    slack: int = 0


@dataclass(frozen=True, eq=False)
class Case:
    """A node of one operator at one opset, under a name that stays the same."""

    id: str
    operator: str
    opset: int
    node: Node

    def feeds(self, prefix: str = "") -> dict[str, np.ndarray]:
        """The inputs that are not constants, by name."""
        return {name: array for name, array, constant in self._operands(prefix) if not constant}

    def initializers(self, prefix: str = "") -> list[onnx.TensorProto]:
        """The inputs that are constants."""
        return [numpy_helper.from_array(array, name) for name, array, constant in self._operands(prefix) if constant]

    def outputs(self, prefix: str = "") -> list[str]:
        """The names of the outputs."""
        return [f"{prefix}y{number}" for number in range(self.node.outputs)]

    def proto(self, prefix: str = "") -> onnx.NodeProto:
        """The node, called `prefix`."""
        names = [f"{prefix}x{at}" if array is not None else "" for at, array in enumerate(self.node.inputs)]
        while names and not names[-1]:
            names.pop()
        return helper.make_node(self.operator, names, self.outputs(prefix), name=prefix, **self.node.attributes)

    def form(self) -> object:
        """What tells nodes apart: all but the values of the inputs that are no constants."""
        operands = [
            array is not None
            and (array.dtype, array.shape, array.tobytes() if at in self.node.constants and array.ndim < 2 else None)
            for at, array in enumerate(self.node.inputs)
        ]
        return repr(
            (self.opset, operands, sorted(self.node.attributes.items()), self.node.constants, self.node.outputs)
        )

    def _operands(self, prefix: str) -> list[tuple[str, np.ndarray, bool]]:
        operands = enumerate(self.node.inputs)
        return [(f"{prefix}x{at}", array, at in self.node.constants) for at, array in operands if array is not None]


def model_of(cases: Sequence[tuple[str, Case]], outputs: Mapping[str, onnx.ValueInfoProto]) -> onnx.ModelProto:
    """The nodes of `cases` side by side, each under its prefix; all of one opset."""
    inputs = [info(name, array) for prefix, case in cases for name, array in case.feeds(prefix).items()]
    graph = helper.make_graph(
        [case.proto(prefix) for prefix, case in cases],
        "sweep",
        inputs,
        [
            outputs.get(name) or helper.make_empty_tensor_value_info(name)
            for prefix, case in cases
            for name in case.outputs(prefix)
        ],
        [tensor for prefix, case in cases for tensor in case.initializers(prefix)],
    )
    imports = [helper.make_opsetid("", cases[0][1].opset)]
    version = max(8, helper.find_min_ir_version_for(imports, ignore_unknown=True))
    return helper.make_model(graph, opset_imports=imports, ir_version=version)


def info(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    """The signature of a tensor."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
