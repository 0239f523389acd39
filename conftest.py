"""What holds for all tests.

They read nothing of the user's: their home, and that of what they start, is an empty folder of the checkout.
"""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

PARTS = ("boards", "hostile", "soak", "sweeps", "torch", "zoo")  # of the slow tests; see tests/README.md
CACHE = Path(__file__).parent / "build" / "cache"
CACHE.mkdir(parents=True, exist_ok=True)
HOME = tempfile.TemporaryDirectory(prefix="home-", dir=CACHE)

for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
    os.environ.pop(variable, None)
os.environ |= {"HOME": HOME.name, "ZIG_GLOBAL_CACHE_DIR": str(CACHE / "zig")}  # zig builds its libc once a checkout

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells start what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every slow test says which part it belongs to.

    Raises: UsageError: one does not, and no part would run it.
    """
    for item in items:
        for mark in item.iter_markers("slow"):
            if mark.kwargs.get("part") not in PARTS:
                raise pytest.UsageError(f"{item.nodeid}: slow needs a part among {', '.join(PARTS)}, got {mark.kwargs}")
