"""Tests read nothing of the user's: their home, and that of what they start, is an empty folder of the checkout."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

CACHE = Path(__file__).parent / "build" / "cache"
CACHE.mkdir(parents=True, exist_ok=True)
HOME = tempfile.TemporaryDirectory(prefix="home-", dir=CACHE)

for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
    os.environ.pop(variable, None)
os.environ |= {"HOME": HOME.name, "ZIG_GLOBAL_CACHE_DIR": str(CACHE / "zig")}  # zig builds its libc once a checkout
