"""Many small networks in one model, so that nothing is seen by its size; ONNX Runtime is the judge of each."""

from __future__ import annotations

import re

import numpy as np
import onnx

from edgesparse.frontend import load
from tests.models import assert_close, ort_run, random_inputs


def reading(step: str, value: str) -> str:
    """An operator that reads `value` where `_` stands."""
    return re.sub(r"\b_\b", value, step)


class Sweep:
    """Networks over inputs of one rank that become one model; every call of `add` writes one."""

    def __init__(self, inputs: dict[str, tuple[int, ...]]) -> None:
        self.inputs, self.lines, self.outputs = inputs, [], []
        self.constants: dict[str, np.ndarray] = {}
        self._rng = np.random.default_rng(0)

    def constant(self, *shape: int, low: float | None = None) -> str:
        """The name of a new constant; above `low` where there is one."""
        array = self._rng.standard_normal(shape).astype(np.float32)
        return self.put(array if low is None else (low + np.abs(array)).astype(np.float32))

    def put(self, array: np.ndarray) -> str:
        """The name of a new constant with this value."""
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def add(self, *steps: str, outputs: tuple[int, ...] = (-1,)) -> None:
        """Write operators, each of which reads the one before as `_`; those at `outputs` are outputs of the model."""
        names, before = [], ""
        for step in steps:
            names.append(f"v{len(self.lines)}")
            self.lines.append(f"{names[-1]} = {reading(step, before)}")
            before = names[-1]
        self.outputs += [names[at] for at in outputs]

    def check(self, opset: int = 20) -> onnx.ModelProto:
        """Compare what the normal form computes with what the model does, output by output."""
        inputs = ", ".join(f"float[{', '.join(map(str, shape))}] {name}" for name, shape in self.inputs.items())
        text = f"g ({inputs}) => ({', '.join(self.outputs)}) {{ {' '.join(self.lines)} }}"
        proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]> {text}')
        proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in self.constants.items())
        normal = load(proto)
        feeds = random_inputs(normal)
        written = dict(zip(self.outputs, self.lines, strict=False))
        for name, actual, expected in zip(self.outputs, ort_run(normal, feeds), ort_run(proto, feeds), strict=True):
            assert actual.shape == expected.shape, (name, written)
            try:
                assert_close(actual, expected)
            except AssertionError as err:
                at = next(at for at, line in enumerate(self.lines) if line.startswith(f"{name} ="))
                raise AssertionError(f"{' '.join(self.lines[max(0, at - 4) : at + 1])}: {err}") from err
        return proto
