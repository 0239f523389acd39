"""An artifact that `esrun --serve` has open at the other end of a pipe; `runtime/tools/serve.h` is the protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from edgesparse.devices.lines import OWNER, answer, ask
from edgesparse.devices.pipe import Pipe
from edgesparse.devices.session import Profiling

if TYPE_CHECKING:
    import numpy as np
    from edgesparse_runtime import Profile, StepTiming, Tensor

    from edgesparse.devices.facts import DeviceFacts
    from edgesparse.package.reader import Artifact

SILENCE_S = 60.0  # of a profile, which tells its share every few seconds
STEP_RUNS = 20  # of a profile, to time its steps


class Served:
    """A session with `esrun --serve` at the other end of a pipe."""

    def __init__(
        self,
        pipe: Pipe,
        artifact: Artifact,
        path: str,
        threads: int,
        lock: str = "",
        facts: DeviceFacts | None = None,
        cores: Sequence[int] = (),
    ) -> None:
        """Open an artifact there.

        Args:
            artifact: what it is.
            path: where it is, for the program.
            lock: a file there that only the sessions of one process have while they measure.
            facts: what the device has said of itself.
            cores: the numbers of those that it runs on; any, without.

        Raises: MeasureError: it cannot be opened, or the pipe breaks.
        """
        self._artifact, self._pipe, self._threads, self.facts = artifact, pipe, threads, facts
        self._ran: tuple[Mapping[str, np.ndarray], ...] = ()
        self._answer()
        request: dict[str, Any] = {"do": "open", "artifact": path, "threads": threads}
        request |= {"cores": [*cores]} if cores else {}
        opened = self._ask(request | ({"lock": lock, "owner": OWNER} if lock else {}))
        self.plan: int = opened["plan"]
        self.inputs, self.outputs = (_tensors(opened[name]) for name in ("inputs", "outputs"))

    @property
    def manifest(self) -> dict[str, Any]:
        """Where the artifact came from."""
        return self._artifact.manifest

    def run(self, *arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One inference: outputs by name.

        Raises: MeasureError: it fails, or the pipe breaks.
        """
        import numpy as np
        from edgesparse_runtime import arrange

        self._ran = arrays
        given = [array.tobytes() for array in arrange(arrays, self.inputs)]
        sizes = self._ask({"do": "run", "bytes": [*map(len, given)]}, given)["bytes"]
        contents = [self._pipe.read(size) for size in sizes]
        return {
            tensor.name: np.frombuffer(content, tensor.dtype).reshape(tensor.shape).copy()
            for tensor, content in zip(self.outputs, contents, strict=True)
        }

    def top(self, outputs: Mapping[str, np.ndarray], count: int = 5) -> Sequence[tuple[str, float]]:
        """The largest elements of the output that the artifact's labels name, with their labels."""
        from edgesparse_runtime import largest

        labels = self._artifact.programs[self.plan].labels
        named = next((o for o in self.outputs if prod(o.shape) == len(labels)), self.outputs[0])
        return largest(outputs, named.name, labels, count)

    def step_times(self, *arrays: Mapping[str, np.ndarray], repeat: int = 10) -> Sequence[StepTiming]:
        """The time of every kernel call, of so many runs.

        Raises: MeasureError: a run fails, or the pipe breaks.
        """
        from edgesparse_runtime import StepTiming

        self._require(*arrays)
        told = self._ask({"do": "profile", "repeat": repeat})
        columns = zip(*told["ns"], strict=True)
        return [
            StepTiming(**step, times_us=tuple(ns / 1e3 for ns in column))
            for step, column in zip(told["steps"], columns, strict=True)
        ]

    def profile(self, inputs: Mapping[str, np.ndarray], wanted: Profiling, told: Callable[[float], None]) -> Profile:
        """See `Session`."""
        from edgesparse_runtime import profile_of

        self._require(inputs)
        every_us = round(1e6 / wanted.rate_hz) if wanted.rate_hz else 0
        request = {"do": "measure", "milliseconds": round(wanted.seconds * 1e3), "every_us": every_us}
        with self._pipe.patient(SILENCE_S):
            measured = self._ask(request | {"meter": wanted.meter})
            while "share" in measured:
                told(measured["share"])
                measured = self._answer()
        _set_clock(measured["windows"], time.time_ns() - measured["now_unix_ns"])
        steps = self.step_times(inputs, repeat=STEP_RUNS)
        return profile_of(measured, steps, self._threads, wanted.rate_hz, wanted.battery_wh, self._pipe.name)

    def time(self, inputs: Mapping[str, np.ndarray], repeat: int = 10) -> Sequence[int]:
        """Nanoseconds of so many runs, after one that is not counted.

        Raises: MeasureError: a run fails, or the pipe breaks.
        """
        self._require(inputs)
        nanoseconds: list[int] = self._ask({"do": "time", "repeat": repeat})["ns"]
        return nanoseconds

    def meters(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """See `Session`."""
        for _ in range(3):
            self.run(inputs)
        return {name: size for name, size in self._ask({"do": "meters"}).items() if size is not None}

    def _require(self, *arrays: Mapping[str, np.ndarray]) -> None:
        """Let these inputs be the ones that are there."""
        if len(arrays) != len(self._ran) or any(a is not b for a, b in zip(arrays, self._ran, strict=True)):
            self.run(*arrays)

    def _ask(self, request: Mapping[str, Any], tensors: Sequence[bytes] = ()) -> Any:
        """Send a request and the tensors that follow it; returns the answer.

        Raises: MeasureError: there is none, or it says what failed.
        """
        return ask(self._pipe, request, tensors)

    def _answer(self) -> Any:
        return answer(self._pipe)


def _set_clock(windows: Sequence[dict[str, Any]], ahead_ns: int) -> None:
    """Let times of the device's clock be those of ours, which is so far ahead."""
    for window in windows:
        for end in ("begin_unix_ns", "end_unix_ns"):
            window[end] += ahead_ns


def _tensors(told: Sequence[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    import numpy as np
    from edgesparse_runtime import Tensor

    return tuple(Tensor(each["name"], np.dtype(each["dtype"]), tuple(each["shape"]), each["picture"]) for each in told)
