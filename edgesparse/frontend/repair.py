"""Put right what ONNX Runtime accepts although the standard, and so the checker, does not."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import onnx
import onnx_ir as ir

from edgesparse import reference
from edgesparse.errors import FrontendError, OnnxRuntimeError
from edgesparse.frontend.opset import in_recent_opset
from edgesparse.frontend.scopes import all_graphs, all_nodes, reads
from edgesparse.frontend.shapes import infer_shapes

STANDARD = "ai.onnx"
"""The long name of the domain whose name is empty."""

GROUP_GAINS = range(18, 21)
"""Opsets whose GroupNormalization has a gain for each group; onnx withdrew it."""


def repaired(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with what it means written as the standard wants it; `model` itself where it is so already.

    The standard domain has its empty name, the graph has one, nodes come in order, dimensions below zero are unknown,
    and outputs without a type have the one that inference finds. A function under the name of an operator of the
    standard is left out. GroupNormalization with a gain for each group is an InstanceNormalization of groups.
    """
    if not _wants_repair(model):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    imports = dict.fromkeys((_domain(entry.domain), entry.version) for entry in copy.opset_import)
    del copy.opset_import[:]
    copy.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in imports)
    copy.graph.name = copy.graph.name or "graph"
    for graph in all_graphs(copy.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            for size in value.type.tensor_type.shape.dim:
                if size.dim_value < 0:
                    size.Clear()
    for node in all_nodes(copy):
        node.domain = _domain(node.domain)
    for function in _hidden(copy):
        copy.functions.remove(function)
    for graph in all_graphs(copy.graph):
        _sort(graph)
        _write_out_groups(graph, copy)
    _add_types(copy)
    return copy


def _wants_repair(model: onnx.ModelProto) -> bool:
    if any(entry.domain == STANDARD for entry in model.opset_import):
        return True
    if any(node.domain == STANDARD or _gains_by_group(node, model) for node in all_nodes(model)):
        return True
    if _hidden(model):
        return True
    graphs = list(all_graphs(model.graph))
    if not model.graph.name:
        return True
    values = (value for graph in graphs for value in (*graph.input, *graph.output, *graph.value_info))
    if any(size.dim_value < 0 for value in values for size in value.type.tensor_type.shape.dim):
        return True
    return any(map(lacks_shape, model.graph.output)) or not all(map(_is_sorted, graphs))


def _domain(name: str) -> str:
    return "" if name == STANDARD else name


def _hidden(model: onnx.ModelProto) -> list[onnx.FunctionProto]:
    """Functions with the name of a standard operator: nodes of that name are the operator."""
    imports = {_domain(entry.domain): entry.version for entry in model.opset_import}
    standard = [function for function in model.functions if not _domain(function.domain)]
    return [function for function in standard if onnx.defs.has(function.name, imports.get("", 1), "")]


def _gains_by_group(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    if node.op_type != "GroupNormalization" or _domain(node.domain):
        return False
    return any(not _domain(entry.domain) and entry.version in GROUP_GAINS for entry in model.opset_import)


def _write_out_groups(graph: onnx.GraphProto, model: onnx.ModelProto) -> None:
    """Normalise [N, G, C / G x ...] in place of [N, C, ...]: there a group is a channel."""
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if not _gains_by_group(node, model):
            graph.node.append(node)
            continue
        (x, *gains), (y,) = node.input, node.output
        groups = next((a.i for a in node.attribute if a.name == "num_groups"), 1)
        kept = {a.name: a.f for a in node.attribute if a.name == "epsilon"}
        parts = [f"{y}/{part}" for part in ("groups", "shape", "apart", "normal")]
        graph.node.extend(
            onnx.helper.make_node(kind, inputs, [output], name=f"{node.name or y}/{kind}", **attributes)
            for kind, inputs, output, attributes in (
                ("Constant", [], parts[0], {"value_ints": [0, groups, -1]}),
                ("Shape", [x], parts[1], {}),
                ("Reshape", [x, parts[0]], parts[2], {}),
                ("InstanceNormalization", [parts[2], *gains], parts[3], kept),
                ("Reshape", [parts[3], parts[1]], y, {}),
            )
        )


def _is_sorted(graph: onnx.GraphProto) -> bool:
    later = {name for node in graph.node for name in node.output if name}
    for node in graph.node:
        if reads(node) & later:
            return False
        later -= set(node.output)
    return True


def _sort(graph: onnx.GraphProto) -> None:
    """Bring the nodes of `graph` into an order in which each comes after what it reads; a circle stays as it is."""
    if _is_sorted(graph):
        return
    nodes = list(graph.node)
    makers = {name: at for at, node in enumerate(nodes) for name in node.output if name}
    needs = {at: {makers[name] for name in reads(node) if name in makers} for at, node in enumerate(nodes)}
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError:
        return
    ordered = [onnx.NodeProto.FromString(nodes[at].SerializeToString()) for at in order]
    del graph.node[:]
    graph.node.extend(ordered)


def lacks_shape(value: onnx.ValueInfoProto) -> bool:
    """Whether the file gives no type for a value, or only that of a tensor of unknown rank."""
    kind = value.type
    return not kind.WhichOneof("value") or (kind.HasField("tensor_type") and not kind.tensor_type.HasField("shape"))


def _add_types(model: onnx.ModelProto) -> None:
    """Give outputs that lack a type the one that onnx infers, or else infers in a newer opset."""
    for infer in (_inferred, _inferred_in_recent_opset):
        missing = list(filter(lacks_shape, model.graph.output))
        types = infer(model) if missing else {}
        for value in missing:
            if value.name in types:
                value.type.CopyFrom(types[value.name])


def _inferred(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    try:
        inferred = reference.infer_shapes(model)
    except (OnnxRuntimeError, ValueError):  # too large for it: the checker says so
        return {}
    if isinstance(inferred, str):
        return {}
    graph = inferred.graph
    return {v.name: v.type for v in (*graph.input, *graph.value_info, *graph.output) if not lacks_shape(v)}


def _inferred_in_recent_opset(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    try:
        recent = infer_shapes(in_recent_opset(ir.from_proto(model)))
    except (FrontendError, ir.serde.SerdeError):  # whoever reads the model says so
        return {}
    outputs = [ir.to_proto(value) for value in recent.graph.outputs]
    return {value.name: value.type for value in outputs if not lacks_shape(value)}
