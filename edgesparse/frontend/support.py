"""Name every operator that later stages cannot compile, before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable

import onnx.inliner
import onnx_ir as ir

from edgesparse.errors import FrontendError

Supports = Callable[[ir.Node], str | None]
"""Why a node cannot be compiled; None where it can."""


def unsupported(model: ir.Model, supports: Supports) -> None:
    """Check every node of `model` with `supports`.

    Raises: FrontendError: one line with every operator that is refused, its nodes and the reason.
    """
    refused: dict[tuple[str, str], list[str]] = {}
    for node in model.graph.all_nodes():
        reason = supports(node)
        if reason is not None:
            refused.setdefault((operator_name(node), reason), []).append(node.name or "?")
    if refused:
        listed = "; ".join(
            f"{operator} ({reason}): {', '.join(names)}" for (operator, reason), names in sorted(refused.items())
        )
        raise FrontendError(f"operators that cannot be compiled: {listed}")


def expand_functions(model: ir.Model, supports: Supports) -> ir.Model:
    """Return `model` with refused operators written out by the definition that ONNX gives for them.

    Operators without such a definition stay. The result is not normalised.
    """
    refused = {(node.domain, node.op_type) for node in model.graph.all_nodes() if supports(node) is not None}
    proto: onnx.ModelProto = ir.to_proto(model) if refused else None
    for operator in sorted(refused):
        try:
            proto = onnx.inliner.inline_selected_functions(proto, [operator], inline_schema_functions=True)
        except RuntimeError:  # onnx cannot write out some definitions where an optional input is absent
            continue
    expanded: ir.Model = ir.from_proto(proto) if refused else model
    return expanded


def operator_name(node: ir.Node) -> str:
    """`Op`, or `domain::Op` outside the standard domain."""
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type
