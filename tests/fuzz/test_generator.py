"""The generator knows every operator, and what it draws is valid."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgesparse.backends.cpu.relax.operators import OWN
from edgesparse.backends.cpu.relax.rewrites import REWRITES
from edgesparse.backends.cpu.relax.supported import IMPORTED
from edgesparse.backends.cpu.walk import LOWERINGS
from tests.fuzz.component import Wish, draw
from tests.fuzz.coverage import Coverage
from tests.fuzz.graph import Graph
from tests.fuzz.judge import judge
from tests.fuzz.model import Form, Model, random_form
from tests.fuzz.names import Names
from tests.fuzz.rules import PATTERNS, RULES
from tests.fuzz.rules.making import MAKERS, Near


def test_every_supported_operator_has_a_rule():
    supported = set(IMPORTED) | set(OWN) | set(REWRITES) | set(LOWERINGS)

    assert set(RULES) == supported | {"Upsample"}  # which the frontend writes as Resize


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_are_drawn(name):
    components = [draw(np.random.default_rng(seed), 18, Wish("float32", (), name), "", set()) for seed in range(4)]

    assert any(component is not None and len(component.nodes) > 1 for component in components)


@pytest.mark.parametrize("opset", [11, 20])
@pytest.mark.parametrize("family", MAKERS)
def test_a_neighbour_is_made_by_its_family(family, opset):
    near, made = Near(family), []
    for dtype in ("float32", "int32", "int8"):
        for shape in ((), (3,), (2, 3, 4)):
            graph = Graph(np.random.default_rng(opset), opset, Names(np.random.default_rng(0), set(), ""))
            value = near.make(graph, dtype, shape, (1, 3))
            if value is not None:
                made.append(value)
                assert (value.dtype, value.shape, near.holds(value)) == (dtype, shape, True)
                assert ((value.array >= 1) & (value.array <= 3)).all() or value.maker == "MatMulInteger"

    assert made


@pytest.mark.parametrize("opset", [7, 11, 13, 18, 22])
def test_models_are_valid_and_hold_what_their_values_say(opset):
    coverage = Coverage(opset)
    rng = np.random.default_rng(opset)
    taken: set[str] = set()
    drawn = [draw(rng, opset, coverage.wish(rng, opset), f"g{at}.", taken) for at in range(4)]
    model = Model(tuple(component for component in drawn if component), opset, random_form(rng))

    judged = judge(model.proto(), model.feeds)

    assert judged.outputs is not None, judged.why
    for component in model.components:
        for name in component.outputs:
            known = {**component.shapes, **component.inputs, **component.constants}[name]
            np.testing.assert_allclose(judged.outputs[name], known, rtol=1e-2, atol=1e-2)


def test_shapes_inside_a_file_are_those_of_its_values():
    wish = Wish("float32", (("Relu", "input"), ("Transpose", "elementwise")))
    drawn = (draw(np.random.default_rng(seed), 18, wish, "", set()) for seed in range(8))
    models = [Model((component,), 18, Form(declared=True)).proto() for component in drawn if component]

    assert any(model.graph.value_info for model in models)
    for model in models:
        onnx.checker.check_model(model, full_check=True)
