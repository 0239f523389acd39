"""The graphs inside nodes, and the values that they read of the graph around them."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto, NodeProto


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
