"""Runtimes made of a few lines of Python, to serve in place of real ones."""

from __future__ import annotations

from pathlib import Path

from bench.contenders import Contender, Result, Runtime
from edgesparse.measure import summarise

DOUBLE = """
PACKAGES = ("numpy",)
count = 0
def load(model, threads, inputs):
    print("a library that prints")
    def run():
        global count
        count += 1
        return {"y": inputs["x"] * 2, "count": [count]}
    return run
"""
TRIPLE = DOUBLE.replace("* 2", "* 3")
REFUSES = """
def load(model, threads, inputs):
    raise ValueError("cannot read\\nthis model")
"""
DIES = """
import os, sys
def load(model, threads, inputs):
    print("out of luck", file=sys.stderr, flush=True)
    os._exit(3)
"""
FAILS_LATER = """
PACKAGES = ()
left = [4] * 4
def load(model, threads, inputs):
    return lambda: {"y": inputs["x"] * 2, "count": [left.pop()]}
"""


def runtime(folder: Path, name: str, source: str) -> Runtime:
    """A runtime whose file holds `source`; it runs in this environment."""
    file = folder / f"{name}.py"
    file.write_text(source)
    return Runtime(name, name.title(), file)


def result(runtime: Runtime, p10_ms: float | None, **facts: object) -> Result:
    """A result whose every run took `p10_ms`; unavailable without it."""
    contender = Contender(runtime, Path("model"), None, **facts)  # type: ignore[arg-type]
    if p10_ms is None:
        return Result(contender, unavailable="not for this machine")
    return Result(contender, summarise([1e3 * p10_ms] * 4), versions={runtime.name: "1.0"})
