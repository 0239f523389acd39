"""What `Model.profile` tells: the latency, memory and energy of a model that runs for a while."""

from __future__ import annotations

from dataclasses import dataclass

from edgesparse_runtime._figure import Figure

SCHEMA = 1
"""Of a profile as JSON. It grows when a field changes its meaning or goes; new fields may come without."""


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram: how many inferences took at least `begin_us` and less than `end_us`."""

    begin_us: float
    end_us: float
    runs: int


@dataclass(frozen=True)
class Slot:
    """A sixtieth of the time that was measured; None where there were no runs or nothing could be read."""

    begin_s: float  # since the first inference that counts
    runs: int
    p10_us: float | None
    median_us: float | None
    p90_us: float | None
    worst_us: float | None
    watts: float | None
    temperature_c: float | None
    clock_hz: float | None


@dataclass(frozen=True)
class Step:
    """A kernel call of the plan, and how long it took."""

    name: str  # the layer in the ONNX model
    op: str
    kernel: str
    tiles: int
    p10_us: float
    median_us: float


@dataclass(frozen=True)
class MemoryProfile:
    """Memory of the process that ran the model, in bytes, and page faults while it ran, as counts."""

    peak: Figure
    mapped: Figure
    anonymous: Figure
    arena: Figure
    weights: Figure
    minor_faults: Figure
    major_faults: Figure


@dataclass(frozen=True)
class Rail:
    """A supply that a meter reads."""

    name: str
    reads: str  # "energy", "power", or "voltage and current"
    shunt_ohm: float | None  # that the meter's driver was told; all it reads scales with it


@dataclass(frozen=True)
class Window:
    """A time for which energy was measured; several make a figure."""

    busy: bool  # the model ran
    begin_unix_ns: int
    end_unix_ns: int
    runs: int
    samples: int  # of the meter
    joules: float | None


@dataclass(frozen=True)
class EnergyProfile:
    """What the device consumed; `net` is without what it consumes while the model does not run."""

    meter: str  # "" where there is none
    rails: tuple[Rail, ...]
    idle: Figure  # W
    mean: Figure  # W, while the model ran
    gross: Figure  # J for each inference
    net: Figure  # J for each inference
    windows: tuple[Window, ...]


@dataclass(frozen=True)
class State:
    """The device at one moment; None where it does not tell."""

    temperature_c: float | None  # of the hottest sensor
    clock_hz: float | None  # of the fastest core
    governor: str | None
    throttled: tuple[str, ...]  # what holds it back


@dataclass(frozen=True)
class Profile:
    """A model that ran for a while: times in microseconds, wall time of one inference unless it says otherwise."""

    schema: int
    where: str  # the device
    seconds: float  # for which it ran, the idle windows left out
    threads: int
    rate_hz: float | None  # None: one inference right after the other
    runs: int
    opened: Figure  # opening the artifact and its threads
    first: Figure  # the first inference
    p10: Figure
    median: Figure
    p90: Figure
    p99: Figure
    worst: Figure
    burst: Figure  # the median of the first tenth of the time
    sustained: Figure  # the median of the last tenth
    missed: Figure  # a count: inferences that were not done when the next was due
    histogram: tuple[Bar, ...]
    slots: tuple[Slot, ...]
    steps: tuple[Step, ...]
    memory: MemoryProfile
    energy: EnergyProfile
    battery: Figure  # hours
    before: State
    after: State
