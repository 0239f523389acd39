"""edgesparse as a backend of `onnx.backend.base`: compile for this machine, run with the Python runtime.

Shapes in a compiled model are static. An input that decides a shape (the `shape` of Reshape, the `k` of TopK, ...) is
therefore frozen to its value at the first run, and the model is compiled then; running the same `prepare`d model with
another value, or with inputs of other shapes, compiles it again. So are the weights of recurrent layers, which are
written out while compiling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import edgesparse_runtime
import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

from edgesparse import frontend
from edgesparse.backends.cpu import supports
from edgesparse.backends.cpu.relax.supported import CONSTANT_INPUTS
from edgesparse.devices import targets
from edgesparse.devices.targets import Target
from edgesparse.errors import FrontendError, TargetError
from edgesparse.package.writer import serialize
from edgesparse.pipeline.arguments import silent
from edgesparse.pipeline.stages import lowered

FROZEN_INPUTS: dict[str, tuple[int, ...]] = {
    **CONSTANT_INPUTS,
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "Compress": (1,),
    "DFT": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "GRU": (1, 2, 3, 4),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "LSTM": (1, 2, 3, 4, 7),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "NonMaxSuppression": (2, 3, 4),
    "OneHot": (1,),
    "RNN": (1, 2, 3, 4),
    "Reshape": (1,),
    "STFT": (1, 3),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
"""Inputs, by operator and position, that must be known when compiling: also those of operators that are written out
before, and shapes that later nodes need."""

_SHAPE_ONLY = frozenset({"Shape", "Size"})


def frozen_inputs(graph: onnx.GraphProto) -> set[str]:
    """Names of the graph inputs whose values are frozen, because a node or a chain of nodes decides by them."""
    producers = {name: node for node in graph.node for name in node.output}
    pending = list(_frozen_values(graph))
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in producers and producers[name].op_type not in _SHAPE_ONLY:
            pending.extend(producers[name].input)
    return {value.name for value in graph.input if value.name in seen}


def _frozen_values(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        for position in FROZEN_INPUTS.get(node.op_type, ()):
            if position < len(node.input) and node.input[position]:
                yield node.input[position]


class EdgesparseRep(BackendRep):  # type: ignore[misc]
    """A model, and what it was compiled to for the shapes and frozen values of the last run."""

    def __init__(self, model: onnx.ModelProto, target: Target) -> None:
        self._model, self._target = model, target
        self._frozen = frozen_inputs(model.graph)
        initializers = {tensor.name for tensor in model.graph.initializer}
        self._names = [value.name for value in model.graph.input if value.name not in initializers]
        self._key: object = None
        self._compiled: edgesparse_runtime.Model | None = None

    def run(self, inputs: Sequence[Any], **kwargs: Any) -> tuple[np.ndarray, ...]:
        """The outputs in the model's order.

        Raises: EdgesparseError: the model cannot be compiled for these inputs.
        """
        if len(inputs) > len(self._names):
            raise FrontendError(f"the model has {len(self._names)} inputs; got {len(inputs)}")
        feeds = {name: np.asarray(array) for name, array in zip(self._names, inputs, strict=False)}
        bind = {name: array for name, array in feeds.items() if name in self._frozen}
        free = {name: array for name, array in feeds.items() if name not in bind}
        key = ({n: a.shape for n, a in free.items()}, {n: (a.shape, a.tobytes()) for n, a in bind.items()})
        if self._compiled is None or key != self._key:
            self.close()
            self._compiled, self._key = self._compile(free, bind), key
        outputs = self._compiled.run({tensor.name: free[tensor.name] for tensor in self._compiled.inputs})
        return tuple(outputs[value.name] for value in self._model.graph.output)

    def _compile(self, free: dict[str, np.ndarray], bind: dict[str, np.ndarray]) -> edgesparse_runtime.Model:
        shapes = {name: array.shape for name, array in free.items()}
        normal = frontend.load(frontend.bound(frontend.read(self._model), bind), shapes, supports)
        frontend.unsupported(normal, supports)
        program, _ = lowered(normal, self._target, silent)
        return edgesparse_runtime.Model(serialize([program], {}))

    def close(self) -> None:
        """Free what was compiled."""
        if self._compiled is not None:
            self._compiled.close()
            self._compiled = None


class EdgesparseBackend(Backend):  # type: ignore[misc]
    """Runs ONNX models on this machine's CPU."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> EdgesparseRep:
        """Check `model`; it is compiled at the first run.

        Raises: EdgesparseError: the device is not a CPU.
        """
        if not cls.supports_device(device):
            raise TargetError(f"device {device!r} is unknown; expected 'CPU'")
        return EdgesparseRep(model, targets.load(targets.HOST))

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Compile and run `model` once."""
        rep = cls.prepare(model, device, **kwargs)
        try:
            return rep.run(inputs)
        finally:
            rep.close()

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether `device` is the CPU."""
        return device.split(":")[0] == "CPU"


prepare = EdgesparseBackend.prepare
run_model = EdgesparseBackend.run_model
supports_device = EdgesparseBackend.supports_device
