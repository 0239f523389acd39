"""The graphs inside nodes, and the values that they read of the graph around them."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto, ModelProto, NodeProto


def inner_graphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs that are attributes of `node`."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """`graph`, and those inside its nodes."""
    yield graph
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from all_graphs(inner)


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """The nodes of `model`, of the graphs inside them, and of its functions."""
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for node in nodes:
            yield node
            yield from (each for inner in inner_graphs(node) for graph in all_graphs(inner) for each in graph.node)


def given(graph: GraphProto) -> set[str]:
    """Names of the inputs and constants of `graph`."""
    tensors = (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer))
    return {value.name for value in (*graph.input, *tensors)}


def reads(node: NodeProto) -> set[str]:
    """Names that `node` reads, and its graphs read of the graph around them: a name of their own hides one outside."""
    names = set(node.input)
    for graph in inner_graphs(node):
        inside = {value.name for value in graph.output}.union(*map(reads, graph.node))
        names |= inside - given(graph) - {name for each in graph.node for name in each.output}
    return names
