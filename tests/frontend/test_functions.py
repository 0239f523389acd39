"""Functions of a model mean what they do in ONNX Runtime, and a short file cannot ask for any number of nodes."""

from __future__ import annotations

import onnx
import pytest

from edgesparse.errors import FrontendError
from edgesparse.frontend import load, read
from tests.frontend.graphs import floats
from tests.models import assert_close, ort_run

HEAD = '<ir_version: 9, opset_import: ["" : 17, "my" : 1]> g (float[3] x) => (float[3] y) '
MINE = '<domain: "my", opset_import: ["" : 17, "my" : 1]> '
LEAKY = MINE + "Leaky <slope: float = 0.7> (p) => (q) { q = LeakyRelu <alpha: float = @slope> (p) }"
CALLS = {
    "left out": ["{ y = my.Leaky (x) }", LEAKY],
    "given": ["{ y = my.Leaky <slope = 0.25> (x) }", LEAKY],
    "left out by a function": ["{ y = my.Outer (x) }", LEAKY, MINE + "Outer (p) => (q) { q = my.Leaky (p) }"],
    "left out in a branch": [
        """<bool c = {1}> {
            y = If (c) <then_branch = t () => (float[3] t) { t = my.Leaky (x) },
                        else_branch = e () => (float[3] e) { e = Neg (x) }>
        }""",
        LEAKY,
    ],
}


def _with_functions(body: str, *functions: str) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(HEAD + body)
    proto.functions.extend(map(onnx.parser.parse_function, functions))
    return proto


@pytest.mark.parametrize("parts", CALLS.values(), ids=CALLS)
def test_an_attribute_that_a_call_leaves_out_has_the_value_of_the_function(parts):
    source = _with_functions(*parts)
    x = {"x": floats(3)}

    assert_close(ort_run(load(source), x)[0], ort_run(source, x)[0])


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_an_operator_of_the_standard_is_not_replaced_by_a_function_of_its_name(domain):
    function = f'<domain: "{domain}", opset_import: ["" : 17]> Relu (p) => (q) {{ q = Neg (p) }}'
    source = _with_functions("{ y = Relu (x) }", function)
    x = {"x": floats(3)}

    assert_close(ort_run(load(source), x)[0], ort_run(source, x)[0])


def test_a_function_that_gives_back_its_input_without_a_node_is_refused():
    with pytest.raises(FrontendError, match="function 'Same': no node of it computes the output 'p'"):
        read(_with_functions("{ y = my.Same (x) }", MINE + "Same (p) => (p) { }"))


def test_nodes_are_counted_before_they_are_written_out():
    doubled = [MINE + f"F{at} (p) => (q) {{ t = my.F{at - 1} (p) q = my.F{at - 1} (t) }}" for at in range(1, 41)]
    source = _with_functions("{ y = my.F40 (x) }", MINE + "F0 (p) => (q) { q = Neg (p) }", *doubled)

    with pytest.raises(FrontendError, match="its functions written out are 1099511627776 nodes, expected at most"):
        read(source)
