"""Devices that run artifacts, and sessions: everything that runs or times a model goes through one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgesparse.errors import MeasureError

if TYPE_CHECKING:
    import numpy as np
    from edgesparse_runtime import Profile, StepTiming, Tensor

    from edgesparse.devices.facts import DeviceFacts


@dataclass(frozen=True)
class Profiling:
    """How to profile.

    `rate_hz` says how often an inference is due; without it, one follows the other. `meter` is a name that the
    runtime knows, such as "auto"; "external" leaves the joules of the windows open.
    """

    seconds: float
    rate_hz: float | None = None
    meter: str = "auto"
    battery_wh: float | None = None


class Timed(Protocol):
    """A model that can be timed: an artifact that is open on a device, or what another runtime made of a model."""

    def time(self, inputs: Mapping[str, np.ndarray], repeat: int = 10) -> Sequence[int]:
        """Nanoseconds of so many runs, after one that is not counted.

        Raises: MeasureError: times of this device say nothing, or it cannot be run.
        """

    def meters(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """What the process in which it is timed reads of itself; what the system does not tell is left out.

        By how much its resident memory grew while the model was opened and run three times: `peak_bytes`,
        `mapped_bytes`, `anonymous_bytes`.

        Raises: MeasureError: what this device reads says nothing, or it cannot be run.
        """


class Session(Timed, Protocol):
    """An artifact that is open on a device."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What it takes."""

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What it gives."""

    @property
    def manifest(self) -> dict[str, Any]:
        """Where it came from."""

    @property
    def facts(self) -> DeviceFacts | None:
        """What the device said of itself when it was opened there; None for this machine, and an emulated one."""

    def run(self, *arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One inference: outputs by name."""

    def top(self, outputs: Mapping[str, np.ndarray], count: int = 5) -> Sequence[tuple[str, float]]:
        """The largest elements of the output that the artifact's labels name, with their labels."""

    def step_times(self, *arrays: Mapping[str, np.ndarray], repeat: int = 10) -> Sequence[StepTiming]:
        """The time of every kernel call, of so many runs.

        Raises: MeasureError: times of this device say nothing.
        """

    def profile(self, inputs: Mapping[str, np.ndarray], wanted: Profiling, told: Callable[[float], None]) -> Profile:
        """Run for a while, and tell latency, memory and energy.

        Args: told: is called with the share of the time that is over.

        Raises: MeasureError: times of this device say nothing, or the meter that was named is not there.
        """


class Device(Protocol):
    """Something that runs artifacts."""

    @property
    def name(self) -> str:
        """What it is called in reports."""

    @property
    def note(self) -> str:
        """A note that belongs with every result; empty if there is none."""

    def open(self, artifact: Path | str, threads: int = 1) -> AbstractContextManager[Session]:
        """Open an artifact for the length of a `with` block.

        Raises: MeasureError: it cannot be opened there, or the block hands it inputs that do not fit.
        """


def where(device: Device, session: Session) -> str:
    """A note of what results are from; empty for this machine."""
    return f"{device.note}: {session.facts}" if session.facts is not None else device.note


@contextmanager
def errors_about(artifact: Path | str) -> Iterator[None]:
    """Let errors of the runtime become ours, and say which artifact they are about.

    Raises: MeasureError: in place of an EdgesparseRuntimeError.
    """
    from edgesparse_runtime import EdgesparseRuntimeError

    try:
        yield
    except EdgesparseRuntimeError as err:
        text = str(err)
        raise MeasureError(text if text.startswith(str(artifact)) else f"{artifact}: {text}") from err
