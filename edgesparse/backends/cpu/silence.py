"""Keep what TVM and LLVM write to the standard error from the user: warnings to their own developers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_ERRORS = 2
_lock = Lock()
_inside = 0
_kept: int | None = None


@contextmanager
def silenced() -> Iterator[None]:
    """Send the standard error of this process nowhere; threads may overlap, and one that is closed stays so."""
    global _inside, _kept
    with _lock:
        _inside += 1
        if _inside == 1:
            _kept = _redirected()
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0 and _kept is not None:
                os.dup2(_kept, _ERRORS)
                os.close(_kept)
                _kept = None


def _redirected() -> int | None:
    """What was the standard error, which is nowhere now; None where there is none."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(_ERRORS)
    except OSError:
        return None
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _ERRORS)
    os.close(nowhere)
    return kept
