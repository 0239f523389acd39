"""Check that operands have the element types that their operator is defined for."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from edgesparse.errors import FrontendError
from edgesparse.nodes import told


def require_types(model: ir.Model) -> None:
    """Check every node by the schema of its operator in the opset of the model.

    Raises: FrontendError: an operand has a type that the schema does not allow, or not that of another operand, as
        the schema wants it.
    """
    for node in model.graph.all_nodes():
        version = model.opset_imports.get(node.domain)
        if version is not None and onnx.defs.has(node.op_type, version, node.domain):
            _require_types(node, list(onnx.defs.get_schema(node.op_type, version, node.domain).inputs))


def _require_types(node: ir.Node, parameters: list[onnx.defs.OpSchema.FormalParameter]) -> None:
    known: dict[str, tuple[ir.DataType, str]] = {}
    for at, value in enumerate(node.inputs):
        parameter = parameters[min(at, len(parameters) - 1)] if parameters else None
        if value is None or value.dtype is None or parameter is None or not isinstance(value.type, ir.TensorType):
            continue
        got, where = value.dtype, f"{parameter.name} {value.name!r}"
        if f"tensor({got.name.lower()})" not in parameter.types:
            allowed = ", ".join(sorted(name[7:-1].upper() for name in parameter.types if name.startswith("tensor(")))
            raise FrontendError(f"{told(node)}: {where} is {got.name}, expected {allowed}")
        if parameter.is_homogeneous:
            expected, other = known.setdefault(parameter.type_str, (got, where))
            if got != expected:
                raise FrontendError(f"{told(node)}: {where} is {got.name}, expected {expected.name} as {other}")
