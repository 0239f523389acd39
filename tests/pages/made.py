"""Profiles as a device would give them, made by hand; every figure is known, so that a page can be judged by it."""

from __future__ import annotations

import math
from dataclasses import replace

from edgesparse_runtime import Profile
from edgesparse_runtime._profile import Bar, EnergyProfile, MemoryProfile, Rail, Slot, State, Step, Window

from edgesparse.measure import Figure, Origin

SECOND_NS = 1_000_000_000
BEGUN_NS = 1_800_000_000 * SECOND_NS


def measured(value: float, unit: str, how: str = "wall time", low: float | None = None, high: float | None = None):
    return Figure(value, unit, Origin.MEASURED, how, low, high)


def profile(median_us: float = 3210.0, steps: tuple[Step, ...] = ()) -> Profile:
    """A run of a minute that heats the device up, measured with a meter of two rails."""
    us = {name: measured(median_us * part, "us") for name, part in PARTS.items()}
    return Profile(
        schema=1,
        where="Raspberry Pi 5 Model B Rev 1.0",
        seconds=60.0,
        threads=4,
        rate_hz=None,
        runs=18_000,
        **us,
        missed=Figure.unavailable("count", "no --rate was given, so nothing was due"),
        histogram=histogram(median_us),
        slots=tuple(slot(at, median_us) for at in range(60)),
        steps=steps or STEPS,
        memory=MEMORY,
        energy=ENERGY,
        battery=Figure(11.3, "h", Origin.ESTIMATED, "18.5 Wh over 1.64 W, at the rate measured"),
        before=State(48.2, 2.4e9, "ondemand", ()),
        after=State(81.5, 1.8e9, "ondemand", ("soft temperature limit",)),
    )


PARTS = {
    "opened": 2.6,
    "first": 3.1,
    "p10": 0.97,
    "median": 1.0,
    "p90": 1.12,
    "p99": 1.38,
    "worst": 2.9,
    "burst": 0.98,
    "sustained": 1.09,
}


def histogram(median_us: float) -> tuple[Bar, ...]:
    """Bars of equal width in the logarithm, most of them around the median."""
    edges = [median_us * 0.9 * 1.03**at for at in range(41)]
    heights = [
        round(4200 * math.exp(-(((at - 5) / (3 if at < 5 else 6)) ** 2))) + (3 if at > 20 else 0) for at in range(40)
    ]
    return tuple(Bar(low, high, runs) for low, high, runs in zip(edges, edges[1:], heights, strict=False))


def slot(at: int, median_us: float) -> Slot:
    """Warmer and slower as time goes; one without any runs."""
    if at == 31:
        return Slot(31.0, 0, None, None, None, None, None, None, None)
    heat = 1 - math.exp(-at / 18)
    slow = 1.0 if at < 38 else 1.11
    now = median_us * slow * (1 + 0.01 * math.sin(at))
    clock = 2.4e9 if at < 38 else 1.8e9 + 1e8 * (at % 3)
    return Slot(float(at), 300, now * 0.97, now, now * 1.12, now * 1.8, 5.1 + heat, 48 + 34 * heat, clock)


MEMORY = MemoryProfile(
    peak=measured(7_340_032, "bytes", "growth of the resident set to its peak (VmHWM)"),
    mapped=measured(3_355_443, "bytes", "growth of resident file pages (RssFile)"),
    anonymous=measured(2_936_012, "bytes", "growth of resident anonymous memory (RssAnon)"),
    arena=measured(2_097_152, "bytes", "from the artifact"),
    weights=measured(3_200_000, "bytes", "from the artifact"),
    minor_faults=measured(1_204, "count", "getrusage"),
    major_faults=measured(0, "count", "getrusage"),
)


def window(at: int, *, busy: bool) -> Window:
    begin = BEGUN_NS + at * 12 * SECOND_NS
    joules = (63.0 if busy else 29.5) + at * 0.2
    return Window(busy, begin, begin + 10 * SECOND_NS, 3000 * busy, 100, joules)


ENERGY = EnergyProfile(
    meter="pmic: Raspberry Pi 5, 2 of 12 rails",
    rails=(Rail("VDD_CORE", "voltage and current", None), Rail("3V3_SYS", "voltage and current", 0.01)),
    idle=measured(2.96, "W", "2 windows of 10 s before and after", 2.93, 2.99),
    mean=measured(6.34, "W", "5 windows of 10 s", 6.28, 6.40),
    gross=measured(0.0211, "J", "5 windows of 10 s, 100 samples each", 0.0209, 0.0213),
    net=measured(0.0124, "J", "gross without the idle watts", 0.0121, 0.0127),
    windows=(window(0, busy=False), *(window(at, busy=True) for at in range(1, 6)), window(6, busy=False)),
)

STEPS = (
    Step("image/planes", "Pad", "es_planes_f32_3x3_c3__rpi5_0", 3, 40.0, 42.0),
    Step("conv1", "Conv+Relu", "es_tiled_f32_dense_m16k27n1024_u6k27r4__rpi5_1", 10, 310.0, 318.0),
    Step("conv2", "Conv+Relu", "es_tiled_f32_sparse_m64k144n1024_u8k144r1__rpi5_2", 8, 720.0, 741.0),
    Step("head", "MatMul+Add", "es_vector_f32_dense_m10k64__rpi5_3", 1, 4.0, 4.5),
)


def bare() -> Profile:
    """What a board without any meter tells, where nothing ran long enough."""
    none = {name: Figure.unavailable("us", "fewer than 2 runs") for name in PARTS}
    why = "no meter was found; remedy: --meter csv:FILE"
    joules = {name: Figure.unavailable(unit, why) for name, unit in _ENERGIES.items()}
    return replace(
        profile(),
        **none,
        where="board",
        runs=0,
        histogram=(),
        slots=(),
        steps=(),
        memory=MemoryProfile(**{word: Figure.unavailable("bytes", "no /proc here") for word in vars(MEMORY)}),
        energy=EnergyProfile("", (), windows=(), **joules),
        battery=Figure.unavailable("h", why),
        before=State(None, None, None, ()),
        after=State(None, None, None, ()),
    )


_ENERGIES = {"idle": "W", "mean": "W", "gross": "J", "net": "J"}
