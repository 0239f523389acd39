"""The profiler's library, as ctypes sees it; every declaration mirrors runtime/include/edgesparse_profile.h."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Mapping, Sequence
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char,
    c_char_p,
    c_double,
    c_int,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any

from edgesparse_runtime import _library

SLOTS, BARS, WINDOWS, RAILS = 60, 48, 12, 16
_RAIL_BYTES = 48

GoOn = CFUNCTYPE(c_bool, c_void_p, c_double)
"""Is told the share of the time that is over; false ends the measurement."""


class _Figure(Structure):
    _fields_ = (("value", c_double), ("low", c_double), ("high", c_double))


class _Bar(Structure):
    _fields_ = (("begin_ns", c_double), ("end_ns", c_double), ("runs", c_uint64))


class _Slot(Structure):
    _fields_ = (
        ("runs", c_uint64),
        *((name, c_double) for name in ("p10_ns", "median_ns", "p90_ns", "worst_ns")),
        *((name, c_double) for name in ("watts", "temperature_c", "clock_hz")),
    )


class _Window(Structure):
    _fields_ = (
        ("busy", c_uint32),
        ("samples", c_uint32),
        *((name, c_uint64) for name in ("begin_ns", "end_ns", "begin_unix_ns", "end_unix_ns", "runs")),
        ("joules", c_double),
        ("doubt_j", c_double),
    )


class _State(Structure):
    _fields_ = (("temperature_c", c_double), ("clock_hz", c_double), ("governor", c_char * 24), ("throttled", c_int64))


class _Rail(Structure):
    _fields_ = (("name", c_char * _RAIL_BYTES), ("reads", c_char * 24), ("shunt_ohm", c_double))


class _Resident(Structure):
    _fields_ = tuple((name, c_double) for name in ("peak_bytes", "mapped_bytes", "anonymous_bytes"))


class Profile(Structure):
    """es_profile."""

    _fields_ = (
        ("seconds", c_double),
        ("runs", c_uint64),
        ("missed", c_uint64),
        ("first_ns", c_double),
        *((name, _Figure) for name in ("p10_ns", "median_ns", "p90_ns", "p99_ns")),
        *((name, c_double) for name in ("worst_ns", "burst_ns", "sustained_ns")),
        ("resident", _Resident),
        ("minor_faults", c_uint64),
        ("major_faults", c_uint64),
        ("bar_count", c_uint64),
        ("bars", _Bar * BARS),
        ("slots", _Slot * SLOTS),
        ("before", _State),
        ("after", _State),
        ("meter", c_char * _RAIL_BYTES),
        ("energy_how", c_char * 256),
        ("rail_count", c_uint64),
        ("rails", _Rail * RAILS),
        ("window_count", c_uint64),
        ("windows", _Window * WINDOWS),
        *((name, _Figure) for name in ("idle_w", "mean_w", "gross_j", "net_j")),
    )


class Options(Structure):
    """es_profile_options."""

    _fields_ = (
        ("seconds", c_double),
        ("rate_hz", c_double),
        ("meter", c_char_p),
        ("root", c_char_p),
        ("sample_hz", c_double),
        ("shortest_window_s", c_double),
        ("go_on", GoOn),
        ("context", c_void_p),
    )


@functools.cache
def library() -> ctypes.CDLL:
    """Load the library; it calls the one that `_library` loads.

    Raises: EdgesparseRuntimeError: none is for this machine.
    """
    _library.library()
    loaded = _library.load("libedgesparse_profile[.-]*so")
    buffers = (POINTER(_library.Buffer), c_size_t)
    loaded.es_session_measure.restype = c_int
    loaded.es_session_measure.argtypes = (
        *(c_void_p, *buffers, *buffers),
        *(POINTER(Options), POINTER(Profile), POINTER(_library.Error)),
    )
    loaded.es_profile_least_runs.restype = c_uint64
    loaded.es_profile_least_runs.argtypes = (c_double,)
    loaded.es_profile_weigh.restype = None
    loaded.es_profile_weigh.argtypes = (POINTER(Profile), c_double)
    return loaded


def least_runs(share: float) -> int:
    """The fewest runs that tell the time which so many of them, a share, do not exceed."""
    return int(library().es_profile_least_runs(share))


def told(profile: Profile) -> dict[str, Any]:
    """What a profile holds, as `esrun --serve` tells it: by name, with None for what is not known."""
    known: dict[str, Any] = _plain(profile)
    for name, count in (("bars", "bar_count"), ("rails", "rail_count"), ("windows", "window_count")):
        known[name] = known[name][: known.pop(count)]
    known["bars"] = [(bar["begin_ns"], bar["end_ns"], bar["runs"]) for bar in known["bars"]]
    return known


def _plain(value: Any) -> Any:
    if isinstance(value, _Figure):
        return [_plain(getattr(value, name)) for name, _ in value._fields_]
    if isinstance(value, Structure):
        plain = {name: _plain(getattr(value, name)) for name, *_ in value._fields_}
        if plain.get("throttled") == -1:
            plain["throttled"] = None
        return plain
    if isinstance(value, ctypes.Array):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return None if isinstance(value, float) and not math.isfinite(value) else value


def weighed(windows: Sequence[Mapping[str, Any]], meter: str, shortest_window_s: float = 0.0) -> dict[str, Any]:
    """Figures of energy from windows whose joules came from elsewhere, as `told` tells them."""
    profile = Profile(meter=meter.encode()[: _RAIL_BYTES - 1], window_count=len(windows))
    for at, window in enumerate(windows):
        known = {name: math.nan if window[name] is None else window[name] for name, *_ in _Window._fields_}
        profile.windows[at] = _Window(**known)
    library().es_profile_weigh(ctypes.byref(profile), shortest_window_s)
    figures = told(profile)
    return {name: figures[name] for name in ("energy_how", "idle_w", "mean_w", "gross_j", "net_j")}
