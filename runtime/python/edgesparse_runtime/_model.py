"""A model that is open, and what its layers cost."""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np

from edgesparse_runtime import _arguments, _library, _profiler
from edgesparse_runtime._arguments import amount, natural, refused, text
from edgesparse_runtime._forks import Locked
from edgesparse_runtime._library import EdgesparseRuntimeError, check
from edgesparse_runtime._pool import Pool, require_threads
from edgesparse_runtime._profile import Profile, StepTiming, profile_of
from edgesparse_runtime._tensors import Tensor, arrange, largest

_Info = TypeVar("_Info", bound=ctypes.Structure)


MOST_RUNS = 100_000
STEP_RUNS = 20
"""Of a profile, to time its steps."""

Arrays = np.ndarray | Mapping[str, np.ndarray] | Sequence[np.ndarray]


class Model(Locked):
    """An artifact that is open and ready to run.

    Calls from several threads run one after another; for concurrent runs open one Model per thread, each of
    which costs an arena while the weights stay shared. A process that is forked opens a Model of its own:
    one that it inherits has no threads there, and can be closed but not run.

    Args:
        artifact: a path, or the bytes of an artifact.
        threads: threads that share the work, the caller's included; 1 to 64.
        pool: the threads of other models too, instead of such that are the model's own.
        verify_weights: also verify the checksum of the weights.

    Raises:
        EdgesparseRuntimeError: the artifact is invalid, or not for this machine.
    """

    def __init__(
        self,
        artifact: str | os.PathLike[str] | bytes,
        threads: int = 1,
        *,
        pool: Pool | None = None,
        verify_weights: bool = False,
    ) -> None:
        super().__init__()
        self._model = ctypes.c_void_p()
        self._session = ctypes.c_void_p()
        self._threads = require_threads(threads)
        if pool is not None:
            self._threads = _threads_of(pool, self._threads)
        if not isinstance(verify_weights, bool):
            raise refused("verify_weights", verify_weights, "True or False")
        path, self._artifact = _arguments.artifact(artifact)  # bytes are used in place
        self._name = path if self._artifact is None else f"of {len(self._artifact)} bytes"
        self._first_ns = 0  # how long the first run took; 0: there was none
        _library.library()  # loading it is no part of opening
        start_ns = time.perf_counter_ns()
        self._open(path, _library.OPEN_VERIFY_WEIGHTS if verify_weights else 0)
        try:
            self._open_session(pool)
        except BaseException:
            self.close()
            raise
        self._opened_ns = time.perf_counter_ns() - start_ns
        self._info = _library.ModelInfo()
        _library.library().es_model_describe(self._model, self._info)
        lib = _library.library()
        self._inputs = tuple(map(_tensor, self._describe(lib.es_model_input, _library.TensorInfo)))
        self._outputs = tuple(map(_tensor, self._describe(lib.es_model_output, _library.TensorInfo)))

    def __repr__(self) -> str:
        takes, gives = (", ".join(map(str, tensors)) for tensors in (self._inputs, self._outputs))
        return f"<Model {self._name}{'' if self._session else ', closed'}: {takes} -> {gives}>"

    def _open(self, path: str, flags: int) -> None:
        lib = _library.library()
        error = _library.Error()
        if self._artifact is not None:
            status = lib.es_model_open_memory(
                self._artifact, len(self._artifact), flags, ctypes.byref(self._model), error
            )
            check(status, error)
            return
        status = lib.es_model_open_file(os.fsencode(path), flags, ctypes.byref(self._model), error)
        names_it = lib.es_status_name(status) == b"ES_ERR_IO"
        check(status, error, "" if names_it else f"{''.join(s if s.isprintable() else '?' for s in path)}: ")

    def _open_session(self, pool: Pool | None) -> None:
        if pool is not None:
            pool.open_session(self._model, self._session)
            return
        error = _library.Error()
        check(_library.library().es_session_open(self._model, self._threads, ctypes.byref(self._session), error), error)

    def _describe(self, function: Callable[..., int], info_type: type[_Info]) -> list[_Info]:
        infos: list[_Info] = []
        while function(self._model, len(infos), info := info_type()) == 0:
            infos.append(info)
        return infos

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the model takes."""
        return self._inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What the model gives."""
        return self._outputs

    @property
    def manifest(self) -> dict[str, Any]:
        """What the artifact says about where it came from; empty if it says nothing."""
        with self._lock:
            self._require_open()
            text = ctypes.string_at(self._info.manifest, self._info.manifest_bytes)
        try:
            manifest = json.loads(text) if text else {}
        except (ValueError, RecursionError) as err:
            raise EdgesparseRuntimeError(f"the manifest is not JSON: {err}", "ES_ERR_INVALID") from err
        if not isinstance(manifest, dict):
            raise EdgesparseRuntimeError("the manifest is not a JSON object", "ES_ERR_INVALID")
        return manifest

    @property
    def plan(self) -> int:
        """Which of the artifact's plans this machine takes, counted from 0: it has one for each of its targets."""
        return int(self._info.plan)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in order; empty if the artifact has none."""
        with self._lock:
            self._require_open()
            text = ctypes.string_at(self._info.labels, self._info.labels_bytes)
        return tuple(text.decode().split("\0")[:-1])

    def top(self, outputs: Mapping[str, np.ndarray], count: int = 5) -> list[tuple[str, float]]:
        """The largest elements of the output that the labels name, with their labels, the largest first.

        Without labels it is the first output, and numbers stand for them.

        Args:
            outputs: what `run` returned.

        Raises:
            EdgesparseRuntimeError: that output is not there.
        """
        return largest(outputs, self._outputs[self._info.labels_output].name, self.labels, count)

    def run(self, *arrays: Arrays) -> dict[str, np.ndarray]:
        """Run the model once.

        Args:
            arrays: a mapping from input names to arrays, or the arrays in the order of `inputs`, also as one list.
                Where an input takes a picture, its array is the frame as the camera gives it.

        Raises:
            EdgesparseRuntimeError: a name, dtype or shape is not the model's.
        """
        return self._run(arrange(arrays, self._inputs), None)

    def step_times(self, *arrays: Arrays, repeat: int = 10) -> list[StepTiming]:
        """Run the model once unmeasured and then `repeat` times, and time every step.

        Args:
            arrays: as for `run`.

        Raises:
            EdgesparseRuntimeError: a name, dtype or shape is not the model's.
        """
        repeat = natural("repeat", repeat, 1, MOST_RUNS)
        arranged = arrange(arrays, self._inputs)
        self._run(arranged, None)
        times_ns = np.zeros((repeat, self._info.step_count), np.uint64)
        for row in times_ns:
            self._run(arranged, row)
        with self._lock:
            self._require_open()
            steps = self._describe(_library.library().es_model_step, _library.StepInfo)
            return [
                StepTiming(
                    step.name.decode(), step.op.decode(), step.kernel.decode(), step.tiles, tuple(column.tolist())
                )
                for step, column in zip(steps, times_ns.T / 1e3, strict=True)
            ]

    def verify(self) -> int:
        """Run the model on made-up inputs, and compare the bits of its outputs with those that the artifact promises.

        Returns: how many outputs were compared; 0 where the artifact promises nothing, as those of floats do.

        Raises:
            EdgesparseRuntimeError: an output has other bits ("ES_ERR_ANSWER").
        """
        checked, error = ctypes.c_size_t(), _library.Error()
        with self._lock:
            self._require_open()
            status = _library.library().es_session_verify(self._session, checked, error)
        check(status, error)
        return int(checked.value)

    def profile(
        self,
        *arrays: Arrays,
        seconds: float = 10.0,
        rate_hz: float | None = None,
        meter: str = "auto",
        battery_wh: float | None = None,
        go_on: Callable[[float], bool] | None = None,
    ) -> Profile:
        """Run the model for a while, and tell latency, memory, energy, temperature and clock.

        With a meter it also stands idle, a sixth of the time before and after.

        Args:
            arrays: as for `run`.
            seconds: for which it runs; a figure of energy needs 60.
            rate_hz: how often a run is due; one right after the other by default.
            meter: "auto", "none", or one of "pmic", "jetson", "hwmon", "hwmon:NAME", "rapl" and "battery".
            battery_wh: of a battery, to tell how long it lasts.
            go_on: is told about once a second the share of the time that is over; what is not true ends it.

        Raises:
            EdgesparseRuntimeError: a name, dtype or shape is not the model's, an option cannot be, or the meter that
                was named is not there.
        """
        arranged = arrange(arrays, self._inputs)
        options = _profiler.Options(
            seconds=amount("seconds", seconds),
            rate_hz=0.0 if rate_hz is None else amount("rate_hz", rate_hz),
            meter=text("meter", meter, "auto, none, or the name of a meter"),
        )
        battery_wh = None if battery_wh is None else amount("battery_wh", battery_wh)
        if go_on is not None and not callable(go_on):
            raise refused("go_on", go_on, "a function of the share that is over, or None")
        measured = _profiler.told(self._measure(arranged, options, go_on))
        info = self._info
        measured |= {
            "opened_ns": self._opened_ns,
            "first_ns": self._first_ns or measured["first_ns"],
            "arena_bytes": info.arena_bytes,
            "weights_bytes": info.weights_bytes,
        }
        steps = self.step_times(*arrays, repeat=STEP_RUNS)
        return profile_of(measured, steps, self._threads, rate_hz, battery_wh)

    def _measure(
        self,
        inputs: list[np.ndarray],
        options: _profiler.Options,
        go_on: Callable[[float], bool] | None = None,
    ) -> _profiler.Profile:
        ended: list[BaseException] = []

        def asked(_context: object, share: float) -> bool:
            try:
                return go_on is None or bool(go_on(share))
            except BaseException as err:  # KeyboardInterrupt, too: signals of Python are heard here
                ended.append(err)
                return False

        options.go_on = _profiler.GoOn(asked)
        outputs = [np.empty(tensor.shape, tensor.dtype) for tensor in self._outputs]
        profile, error = _profiler.Profile(), _library.Error()
        measure = _profiler.library().es_session_measure
        with self._lock:
            self._require_open()
            tensors = (_buffers(inputs), len(inputs), _buffers(outputs), len(outputs))
            status = measure(self._session, *tensors, ctypes.byref(options), ctypes.byref(profile), error)
        if ended:
            raise ended[0]
        check(status, error)
        return profile

    def _run(self, inputs: list[np.ndarray], times_ns: np.ndarray | None) -> dict[str, np.ndarray]:
        outputs = {tensor.name: np.empty(tensor.shape, tensor.dtype) for tensor in self._outputs}
        lib = _library.library()
        error = _library.Error()
        with self._lock:
            self._require_open()
            tensors = (_buffers(inputs), len(inputs), _buffers(list(outputs.values())), len(outputs))
            start_ns = time.perf_counter_ns() if not self._first_ns else 0
            if times_ns is None:
                status = lib.es_session_run(self._session, *tensors, error)
            else:
                pointer = times_ns.ctypes.data_as(ctypes.POINTER(ctypes.c_uint64))
                status = lib.es_session_profile(self._session, *tensors, pointer, error)
            if start_ns and status == 0:
                self._first_ns = time.perf_counter_ns() - start_ns
        check(status, error)
        return outputs

    def _require_open(self) -> None:
        if not self._session:
            raise EdgesparseRuntimeError("the model is closed", "ES_ERR_ARGUMENT")

    def close(self) -> None:
        """Free the threads and the memory of the model; may be called more than once."""
        with self._lock:
            session, self._session = self._session, ctypes.c_void_p()
            model, self._model = self._model, ctypes.c_void_p()
            _library.library().es_session_close(session)
            _library.library().es_model_close(model)
            self._artifact = None

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_model", None):
            self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Model cannot be copied or pickled; open the artifact again")


def _threads_of(pool: Pool, threads: int) -> int:
    """How many a pool has.

    Raises: EdgesparseRuntimeError: it is none, or the caller asks for threads besides.
    """
    if not isinstance(pool, Pool):
        raise refused("pool", pool, "a Pool, or None")
    if threads != 1:
        raise EdgesparseRuntimeError(f"threads: got {threads} beside a pool, which has its own", "ES_ERR_ARGUMENT")
    return pool.threads


def _tensor(info: _library.TensorInfo) -> Tensor:
    picture = _library.PICTURES[info.picture]
    return Tensor(info.name.decode(), np.dtype(info.dtype_name.decode()), tuple(info.dims[: info.rank]), picture)


def _buffers(arrays: list[np.ndarray]) -> ctypes.Array[_library.Buffer]:
    buffers = (_library.Buffer * len(arrays))()
    for buffer, array in zip(buffers, arrays, strict=True):
        buffer.data = array.ctypes.data
        buffer.size_bytes = array.nbytes
    return buffers
