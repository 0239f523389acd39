"""Name every operator that later stages cannot compile, before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import onnx.inliner
import onnx_ir as ir

from edgesparse.errors import FrontendError, first_few
from edgesparse.frontend.recurrent import why_kept
from edgesparse.frontend.remedies import remedy
from edgesparse.frontend.scopes import given, reads

NAMES_SHOWN = 10

_ASIDE = "edgesparse.aside"
"""A domain for operators that are not to be written out."""

_KEPT = frozenset({("", "ReduceLogSum"), ("", "ReduceLogSumExp")})
"""Refused for integers, where ONNX Runtime computes something else than what ONNX defines."""

Supports = Callable[[ir.Node], str | None]
"""Why a node cannot be compiled; None where it can."""


def unsupported(model: ir.Model, supports: Supports) -> None:
    """Check every node of `model` with `supports`.

    Raises: FrontendError: one line with every operator that is refused, its nodes and the reason.
    """
    refused: dict[tuple[str, str], list[str]] = {}
    remedies: dict[str, None] = {}
    for node in model.graph.all_nodes():
        reason = supports(node)
        if reason is not None:
            name = node.name or next((value.name for value in node.outputs if value.name), None)
            remedies[remedy(node)] = None
            refused.setdefault((operator_name(node), why_kept(node) or reason), []).append(name or "?")
    if refused:
        listed = "; ".join(
            f"{operator} ({reason}): {first_few(names, NAMES_SHOWN)}"
            for (operator, reason), names in sorted(refused.items())
        )
        raise FrontendError(f"operators that cannot be compiled: {listed}; remedy: {'; or '.join(remedies)}")


def expand_functions(model: ir.Model, supports: Supports) -> ir.Model:
    """Return `model` with refused operators written out by the definition that ONNX gives for them.

    Operators without such a definition stay. The result is not normalised.
    """
    nodes = [node for node in model.graph.all_nodes() if supports(node) is not None]
    refused = {(node.domain, node.op_type) for node in nodes} - _KEPT
    if not refused:
        return model
    proto = _without_others(model, refused, set(nodes))
    # onnx asks for the type of every input, of one that is left out too
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("", onnx.TensorProto.FLOAT, None))
    for operator in sorted(refused):
        try:
            written_out = onnx.inliner.inline_selected_functions(proto, [operator], inline_schema_functions=True)
        except RuntimeError:  # some definitions are for some types only
            continue
        if _is_complete(written_out.graph):  # onnx loses the constants of graphs that are attributes
            proto = written_out
    del proto.graph.value_info[[value.name for value in proto.graph.value_info].index("")]
    expanded: ir.Model = ir.from_proto(proto)
    for node in expanded.graph.all_nodes():
        node.domain = node.domain.removeprefix(_ASIDE)
    expanded.opset_imports.pop(_ASIDE, None)
    return expanded


def _is_complete(graph: onnx.GraphProto) -> bool:
    """Whether everything that is read is there."""
    named = given(graph).union({""}, *(node.output for node in graph.node))
    return all(reads(node) <= named for node in graph.node)


def _without_others(model: ir.Model, operators: Collection[tuple[str, str]], nodes: Collection[ir.Node]) -> Any:
    """The proto of `model`, in which only `nodes` are of these operators: onnx writes out every one."""
    others = [
        node for node in model.graph.all_nodes() if (node.domain, node.op_type) in operators and node not in nodes
    ]
    for node in others:
        node.domain = _ASIDE + node.domain
    model.opset_imports[_ASIDE] = 1
    proto = ir.to_proto(model)
    for node in others:
        node.domain = node.domain.removeprefix(_ASIDE)
    del model.opset_imports[_ASIDE]
    return proto


def name_nodes(model: ir.Model) -> None:
    """Call nodes without a name by what they compute, in place: a generated number would tell nobody anything."""
    for node in model.graph.all_nodes():
        if not node.name:
            node.name = next((value.name for value in node.outputs if value.name), None)


def operator_name(node: ir.Node) -> str:
    """`Op`, or `domain::Op` outside the standard domain."""
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type
