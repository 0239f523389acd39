"""Ops partition the nodes of a graph, stand where they can run, and absorb what no other op reads."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from edgesparse import frontend
from edgesparse.graph.attention import Attention
from edgesparse.graph.ops import Depthwise, Other, Weighted, graph_of
from tools.hashes.graphs import GRAPHS


def parsed(text: str):
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    return graph_of(ir.from_proto(onnx.shape_inference.infer_shapes(model)))


@pytest.mark.parametrize("name", GRAPHS)
def test_every_node_is_in_one_op_which_comes_after_all_it_reads(name, tmp_path):
    normal = frontend.load(GRAPHS[name].write(tmp_path / "model.onnx"))

    graph = graph_of(normal)

    assert sorted(str(node.name) for op in graph.ops for node in op.nodes) == sorted(str(n.name) for n in normal.graph)
    computed = {value.name for value in (*normal.graph.inputs, *normal.graph.initializers.values())}
    for op in graph.ops:
        inside = {value.name for node in op.nodes for value in node.outputs}
        reads = {value.name for node in op.nodes for value in node.inputs if value is not None}
        assert reads <= computed | inside
        computed |= inside
    assert any(isinstance(op, Attention) for op in graph.ops) == (name == "transformer")


def test_a_layer_absorbs_its_bias_one_residual_and_one_activation():
    graph = parsed("""g (float[1, 2, 4, 4] x) => (y)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] b = {1, 2}> {
        a = Conv (x, w) s = Add (a, b) t = Add (s, x) u = Relu (t) y = Tanh (u)
    }""")

    layer, rest = graph.ops

    assert isinstance(layer, Weighted) and isinstance(rest, Other)
    assert [node.op_type for node in layer.nodes] == ["Conv", "Add", "Add", "Relu"]
    assert layer.fusion.bias.tolist() == [1, 2]
    assert layer.fusion.residual.name == "x" and layer.fusion.activation.name == "relu" and layer.output.name == "u"


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        ("Conv <group = 2> (x, w, b)", Depthwise),
        ("Conv <group = 2> (x, w, c)", Other),  # its bias is computed at run time
        ("Reshape (x, shape)", Other),
        ("Identity (x)", Other),
    ],
)
def test_what_a_node_is(node, kind):
    graph = parsed(f"""g (float[1, 2, 4, 4] x, float[2] c) => (y)
        <float[2, 1, 1, 1] w = {{1, 2}}, float[2] b = {{1, 2}}, int64[2] shape = {{8, 4}}> {{ y = {node} }}""")

    (op,) = graph.ops

    assert isinstance(op, kind)
    assert isinstance(op, Depthwise) or op.is_view == (not node.startswith("Conv"))


def test_what_computes_nothing_has_no_op():
    graph = parsed("g (float[2, 0] x, float[2] z) => (y, v) { y = Relu (x) v = Relu (z) }")

    assert [op.nodes[0].outputs[0].name for op in graph.ops] == ["v"]
