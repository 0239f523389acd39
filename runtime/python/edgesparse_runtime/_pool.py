"""Threads that run models: how many, where, how urgent, and how they wait."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import NoReturn

from edgesparse_runtime import _library
from edgesparse_runtime._arguments import natural, refused
from edgesparse_runtime._forks import Locked
from edgesparse_runtime._library import EdgesparseRuntimeError, check

MAX_THREADS = 64
_ARGUMENT = "ES_ERR_ARGUMENT"


class Pool(Locked):
    """Threads that any number of models share; the runs of these models take turns.

    The thread that calls `Model.run` is one of them. It stays where it is and as urgent as it is: `cores` and
    `priority` are those of the others. `os.sched_setaffinity(0, cores)` moves the thread that calls it.

    Args:
        threads: how many, the caller's included; 1 to 64.
        cores: numbers of the CPUs that they run on, each on any of them; None leaves them where the thread that
            opens the pool may run.
        spin_us: how long a thread spins between two runs before it sleeps, in microseconds, up to a million; 0
            sleeps at once and spares a battery. None spins where there are more threads than CPUs for them.
        priority: added to the nice value of the thread that opens the pool, 0 to 19: the larger, the less urgent.

    Raises:
        EdgesparseRuntimeError: a value is not allowed, a core is not there, or a thread cannot be started.
    """

    def __init__(self, threads: int, cores: Iterable[int] | None = None, spin_us: int = 50, priority: int = 0) -> None:
        super().__init__()
        self._handle = ctypes.c_void_p()
        self._threads = require_threads(threads)
        numbers = [] if cores is None else _listed(cores)
        listed = (ctypes.c_uint32 * len(numbers))(*numbers)
        options = _library.PoolOptions(
            size_bytes=ctypes.sizeof(_library.PoolOptions),
            threads=self._threads,
            spin_us=natural("spin_us", spin_us),
            priority=natural("priority", priority),
            cores=ctypes.cast(listed, ctypes.POINTER(ctypes.c_uint32)),
            core_count=len(listed),
        )
        error = _library.Error()
        check(_library.library().es_pool_open(options, ctypes.byref(self._handle), error), error)

    @property
    def threads(self) -> int:
        """How many threads run a model, the caller's included."""
        return self._threads

    def __repr__(self) -> str:
        return f"<Pool of {self._threads} threads{'' if self._handle else ', closed'}>"

    def open_session(self, model: ctypes.c_void_p, session: ctypes.c_void_p) -> None:
        """Fill in a session of the model that runs on these threads.

        Raises:
            EdgesparseRuntimeError: the pool is closed, or was opened before this process was forked.
        """
        error = _library.Error()
        with self._lock:
            if not self._handle:
                raise EdgesparseRuntimeError("the pool is closed", _ARGUMENT)
            status = _library.library().es_session_open_in(model, self._handle, ctypes.byref(session), error)
        check(status, error)

    def close(self) -> None:
        """Let the threads end once the last model is closed that runs on them; may be called more than once."""
        with self._lock:
            handle, self._handle = self._handle, ctypes.c_void_p()
            _library.library().es_pool_close(handle)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Pool cannot be copied or pickled; open another")


def require_threads(threads: int) -> int:
    """The count of threads that was given.

    Raises:
        EdgesparseRuntimeError: it is not 1 to 64.
    """
    return natural("threads", threads, 1, MAX_THREADS, f"1 to {MAX_THREADS}")


def _listed(cores: Iterable[int]) -> list[int]:
    expected = "numbers of CPUs, or None for any"
    if isinstance(cores, str | bytes) or not isinstance(cores, Iterable):
        raise refused("cores", cores, expected)
    try:
        numbers = list(cores)
    except TypeError:  # such as an array of no dimension
        numbers = []
    if not numbers:
        raise refused("cores", cores, expected)
    return [natural("cores", number, expected=expected) for number in numbers]
