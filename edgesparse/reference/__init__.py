"""ONNX Runtime, the reference: the one place that makes its sessions, in a process of its own.

Nothing is optimised unless that is asked for, so that what it computes is what the model says, operator by operator.
It is the judge of results, the evaluator of constants and the observer of calibration samples; `rival.py` is what it is
as a rival in speed. What makes it crash or hang ends in an error with a name; the next session starts it anew.
"""

from __future__ import annotations

import itertools
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgesparse.errors import OnnxRuntimeError
from edgesparse.reference import process
from edgesparse.reference.process import Process, stop

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

__all__ = ["Model", "Session", "evaluate", "infer_shapes", "process_id", "stop"]

Model: TypeAlias = "str | Path | onnx.ModelProto | ir.Model"

LIMIT_S = 600.0
INFERENCE_LIMIT_S = 60.0
INLINE_BYTES = 1 << 30
"""A larger model is handed over in files: a protocol buffer ends at 2 GiB."""

_numbers = itertools.count()


class Session:
    """A model open in ONNX Runtime.

    A session outlives the process that holds it: after a crash, be it another session's, it is opened again.
    """

    def __init__(
        self,
        model: Model,
        outputs: Iterable[str] | None = None,
        *,
        given: Mapping[str, np.dtype] | None = None,
        threads: int = 1,
        optimised: bool = False,
        limit_s: float = LIMIT_S,
    ) -> None:
        """Open `model`.

        Args:
            model: the path of a file, or a model in memory.
            outputs: values of the main graph to return; nothing that they do not need is computed. By default the
                outputs of the model.
            given: element types of values of the main graph that are fed, in place of what computes them. Only with
                `outputs`.
            threads: that one operator may use; 0: as many as cores.
            optimised: let ONNX Runtime rewrite the model, as its users do; it is faster.
            limit_s: how long opening it may take, and each run.

        Raises: OnnxRuntimeError: it cannot be opened.
        """
        self._name = str(model) if isinstance(model, str | Path) else "the model"
        self._number = next(_numbers)
        self._limit_s = limit_s
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._request = (self._source(model, outputs, given or {}), threads, optimised)
        self._home: Process | None = None
        self.inputs: list[str]
        self.outputs: list[str]
        with process.exclusive() as held:
            self._open_in(held)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One inference: the outputs that are tensors, by name.

        Raises: OnnxRuntimeError: the feeds do not fit, or the model cannot be run.
        """
        results: list[np.ndarray | None]
        with process.exclusive() as held:
            if self._home is not held:
                self._open_in(held)
            results = held.ask(f"run {self._name}", self._limit_s, "run", self._number, dict(feeds))
        return {name: array for name, array in zip(self.outputs, results, strict=True) if array is not None}

    def close(self) -> None:
        """Free what the session holds; it cannot be run any more."""
        self._finalizer()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _source(self, model: Model, outputs: Iterable[str] | None, given: Mapping[str, np.dtype]) -> str | np.ndarray:
        if isinstance(model, str | Path) and outputs is None:
            return str(Path(model).absolute())
        import onnx_ir as ir

        if isinstance(model, str | Path):
            model = ir.load(model)
        if not isinstance(model, ir.Model):
            if outputs is None:
                return np.frombuffer(model.SerializeToString(), np.uint8)
            model = ir.from_proto(model)
        return self._serialized(model if outputs is None else computing(model, outputs, given))

    def _serialized(self, model: ir.Model) -> str | np.ndarray:
        import onnx_ir as ir

        tensors = [value.const_value for value in model.graph.initializers.values() if value.const_value is not None]
        if sum(tensor.nbytes for tensor in tensors) >= INLINE_BYTES:
            self._folder = tempfile.TemporaryDirectory(prefix="edgesparse-")
            path = Path(self._folder.name) / "model.onnx"
            ir.save(model, path, external_data="weights.bin")
            return str(path)
        if any(isinstance(tensor, ir.ExternalTensor) for tensor in tensors):
            model = ir.external_data.load_to_model(model.clone())
        return np.frombuffer(ir.to_proto(model).SerializeToString(), np.uint8)

    def _open_in(self, held: Process) -> None:
        opened = held.ask(f"open {self._name}", self._limit_s, "open", self._number, *self._request)
        self.inputs, self.outputs = opened
        self._home = held
        self._finalizer = weakref.finalize(self, held.drop, self._number)
        self._finalizer.atexit = False  # the process ends by itself


def evaluate(
    model: Model,
    feeds: Mapping[str, np.ndarray],
    outputs: Iterable[str] | None = None,
    *,
    threads: int = 1,
    limit_s: float = LIMIT_S,
) -> dict[str, np.ndarray]:
    """Run `model` once; what `Session` and its `run` say."""
    with Session(model, outputs, threads=threads, limit_s=limit_s) as session:
        return session.run(feeds)


def infer_shapes(model: onnx.ModelProto, *, strict: bool = False) -> onnx.ModelProto | str:
    """`model` with what onnx infers of its shapes and types, or what onnx finds wrong with it.

    Args: strict: find wrong what else is left out: operators whose operands do not fit.

    Raises: OnnxRuntimeError: it crashes over the model, or takes too long or too much memory.
    """
    import onnx

    data = np.frombuffer(model.SerializeToString(), np.uint8)
    with process.exclusive() as held:
        try:
            answer = held.ask("infer shapes", INFERENCE_LIMIT_S, "infer", data, strict)
        except OnnxRuntimeError:
            held.stop()  # it may hold all the memory that it could get
            raise
    return answer if isinstance(answer, str) else onnx.ModelProto.FromString(answer.tobytes())


def process_id() -> int:
    """Of the process that holds ONNX Runtime, started where it does not run yet."""
    with process.exclusive() as held:
        return held.pid


def computing(model: ir.Model, outputs: Iterable[str], given: Mapping[str, np.dtype]) -> ir.Model:
    """A copy of `model` that computes the values `outputs` of its main graph, and nothing that they do not need.

    Args: given: element types of values that are inputs of it, instead of being computed.
    """
    import onnx_ir as ir
    from onnx_ir.passes import common

    part = model.clone()
    values = {value.name: value for value in (*part.graph.inputs, *part.graph.initializers.values())}
    values |= {value.name: value for node in part.graph for value in node.outputs}
    part.graph.outputs[:] = [values[name] for name in outputs]
    for name, dtype in given.items():
        if values[name].is_graph_input():
            continue
        fed = ir.Value(name=name, type=ir.TensorType(ir.DataType.from_numpy(dtype)))
        values[name].replace_all_uses_with(fed)
        values[name].name = None
        part.graph.inputs.append(fed)
    common.RemoveUnusedNodesPass()(part)
    if given:
        part.graph.inputs[:] = [value for value in part.graph.inputs if value.uses()]
    return part
