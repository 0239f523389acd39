"""What lies in the user's home changes no test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from edgesparse.devices import targets

ROOT = Path(__file__).parents[1]
PROBE = "tests/schedule/test_choose.py::test_density_decides"  # loads targets with their cost tables


def poisoned(home: Path) -> dict[str, str]:
    """An environment whose user has a cost table for every target that nothing can read."""
    for name in targets.names():
        path = home / ".cache" / targets.cached_costs(targets.load(name)).relative_to(Path.home() / ".cache")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("poison")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "XDG_"))}
    return clean | {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_cost_table_in_the_users_cache_changes_no_test(tmp_path):
    environment = poisoned(tmp_path)

    user = run(environment, "-c", "from edgesparse.devices import targets; targets.load('rpi4')")
    tests = run(environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", PROBE)

    assert "rpi4.toml: not a TOML file" in user.stderr
    assert tests.returncode == 0, tests.stdout
