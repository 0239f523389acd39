"""Several components as one model file, in one of the forms that files have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.fuzz.component import Component


@dataclass(frozen=True)
class Form:
    """How a file says what it says; the meaning is the same."""

    domain: str = ""  # of the standard operators
    shuffled: bool = False
    declared: bool = False  # shapes of the values inside
    unknown: str = ""  # what dimensions of outputs are, if anything: "minus one", "named", "untyped"
    open: str = ""  # the same of inputs, whose shapes are then given with the file: "minus one", "named"
    listed: bool = False  # constants are inputs too
    constant_nodes: bool = False
    seed: int = 0

    def plain(self) -> Form:
        """The form that nothing stumbles over."""
        return Form(listed=self.listed)


def random_form(rng: np.random.Generator) -> Form:
    """A form; most are plain in most ways."""
    return Form(
        domain="ai.onnx" if rng.random() < 0.3 else "",
        shuffled=bool(rng.random() < 0.4),
        declared=bool(rng.random() < 0.3),
        unknown=str(rng.choice(["minus one", "named", "untyped"])) if rng.random() < 0.4 else "",
        open=str(rng.choice(["minus one", "named"])) if rng.random() < 0.2 else "",
        listed=bool(rng.random() < 0.15),
        constant_nodes=bool(rng.random() < 0.2),
        seed=int(rng.integers(1 << 30)),
    )


@dataclass(frozen=True, eq=False)
class Model:
    """Components of one opset, and the form of their file."""

    components: tuple[Component, ...]
    opset: int
    form: Form

    def only(self, components: Sequence[Component]) -> Model:
        """The same with some of its components."""
        return replace(self, components=tuple(components))

    @property
    def feeds(self) -> dict[str, np.ndarray]:
        """An array for every input."""
        return {name: array for component in self.components for name, array in component.inputs.items()}

    @property
    def truths(self) -> dict[str, np.ndarray]:
        """Outputs that ONNX leaves open."""
        return {name: array for component in self.components for name, array in component.truths.items()}

    def proto(self) -> onnx.ModelProto:
        """The file."""
        rng, form = np.random.default_rng(self.form.seed), self.form
        nodes = [node for component in self.components for node in component.nodes]
        constants = {name: a for component in self.components for name, a in component.constants.items()}
        outputs = [name for component in self.components for name in component.outputs]
        movable = [name for name, array in constants.items() if name not in outputs and array.size]
        as_nodes = [name for name in movable if form.constant_nodes and rng.random() < 0.5]
        nodes = [*(_constant_node(name, constants.pop(name)) for name in as_nodes), *nodes]
        if form.shuffled:
            nodes = [nodes[int(at)] for at in rng.permutation(len(nodes))]
        made = {name: a for component in self.components for name, a in component.shapes.items()}
        known = {**made, **self.feeds, **constants}
        inputs = [_info(name, array, form.open) for name, array in self.feeds.items()]
        if form.listed:
            inputs += [_info(name, array) for name, array in constants.items() if array.size]
        results = [_info(name, known[name], form.unknown if name in made else "") for name in outputs]
        graph = helper.make_graph(
            nodes,
            "components",
            inputs,
            results,
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
            value_info=[_info(name, array) for name, array in made.items() if form.declared and name not in outputs],
        )
        opset = helper.make_opsetid(form.domain, self.opset)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8 if self.opset < 19 else 10)
        for node in model.graph.node:
            node.domain = form.domain
        return model


def _info(name: str, array: np.ndarray, unknown: str = "") -> onnx.ValueInfoProto:
    if unknown == "untyped":
        return helper.make_empty_tensor_value_info(name)
    dims: list[int | str] = list(array.shape)
    if unknown:
        dims = [-1 if unknown == "minus one" else f"{name}_{at}" for at in range(len(dims))]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), dims)


def _constant_node(name: str, array: np.ndarray) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))
