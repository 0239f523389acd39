"""Locks that a forked child gets anew, since threads of its parent may hold those that it inherits."""

from __future__ import annotations

import os
import threading
import weakref


class Locked:
    """Something whose calls come one after another, in a forked child too."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may close what it interrupts
        _locked.add(self)


_locked: weakref.WeakSet[Locked] = weakref.WeakSet()


def _renew_locks() -> None:
    for each in _locked:
        each._lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_locks)
