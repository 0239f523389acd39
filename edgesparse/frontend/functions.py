"""Functions that a model defines itself: check the calls to them, and inline them."""

from __future__ import annotations

from collections.abc import Iterable

import onnx.inliner
import onnx_ir as ir
from onnx import FunctionProto, ModelProto, NodeProto

from edgesparse.errors import FrontendError
from edgesparse.frontend.scopes import all_graphs, all_nodes, inner_graphs
from edgesparse.nodes import called

MOST_NODES = 100_000
"""The most nodes of a model with its functions written out: a short file can ask for any number."""

Key = tuple[str, str, str]


def require_calls(proto: ModelProto, where: str) -> None:
    """Check that functions compute their outputs, and that no call has more inputs or outputs than its function.

    Raises: FrontendError: a function or a call fails the check.
    """
    functions = _by_key(proto)
    for function in functions.values():
        computed = {name for node in function.node for name in node.output}
        for name in function.output:
            if name not in computed:
                raise FrontendError(f"{where}: function {function.name!r}: no node of it computes the output {name!r}")
    for node in (node for graph in all_graphs(proto.graph) for node in graph.node) if functions else ():
        own = functions.get(_key(node))
        if own is None:
            continue
        for kind, got, most in (("reads", node.input, own.input), ("computes", node.output, own.output)):
            if len(got) > len(most):
                told = called(node.op_type, node.name, node.output)
                raise FrontendError(
                    f"{where}: {told} {kind} {len(got)} values, expected at most the {len(most)} of its function"
                )


def require_few_nodes(proto: ModelProto, where: str) -> None:
    """Check how many nodes there are once functions, none of which calls itself, are written out.

    Raises: FrontendError: more than anybody can compile.
    """
    functions = _by_key(proto)
    sizes: dict[Key, int] = {}

    def count(nodes: Iterable[NodeProto]) -> int:
        return sum(size(node) + sum(count(graph.node) for graph in inner_graphs(node)) for node in nodes)

    def size(node: NodeProto) -> int:
        key = _key(node)
        if key not in functions:
            return 1
        if key not in sizes:
            sizes[key] = count(functions[key].node)
        return sizes[key]

    total = count(proto.graph.node) if functions else 0
    if total > MOST_NODES:
        raise FrontendError(f"{where}: its functions written out are {total} nodes, expected at most {MOST_NODES}")


def inline_functions(model: ir.Model) -> ir.Model:
    """The model without functions: in place of a call stands what the function computes."""
    if not model.functions:
        return model
    proto: ModelProto = ir.to_proto(model)
    _write_defaults(proto)
    inlined: ir.Model = ir.from_proto(onnx.inliner.inline_local_functions(proto, convert_version=True))
    return inlined


def _write_defaults(proto: ModelProto) -> None:
    """Give calls the attributes that they leave to the function: onnx inlines without them."""
    functions = _by_key(proto)
    for node in all_nodes(proto):
        function = functions.get(_key(node), FunctionProto())
        held = {attribute.name for attribute in node.attribute}
        node.attribute.extend(default for default in function.attribute_proto if default.name not in held)


def _by_key(proto: ModelProto) -> dict[Key, FunctionProto]:
    return {(function.domain, function.name, function.overload): function for function in proto.functions}


def _key(node: NodeProto) -> Key:
    return node.domain, node.op_type, node.overload
