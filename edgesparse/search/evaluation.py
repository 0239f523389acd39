"""The user's own judge: a function that takes the path of an ONNX model and returns a number, higher is better."""

from __future__ import annotations

import importlib
import math
import numbers
import sys
from collections.abc import Callable
from pathlib import Path

from edgesparse.errors import SearchError

Evaluate = Callable[[Path], float]


def load_evaluation(name: str) -> Evaluate:
    """The function called "package.module:function", found from the working directory too.

    What it returns or raises is checked at each call.

    Raises: SearchError: there is no such function, or importing its module fails.
    """
    module_name, separator, attribute = name.partition(":")
    if not separator or not module_name or not attribute:
        raise SearchError(f"eval: got {name!r}, expected package.module:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function = importlib.import_module(module_name)
        for part in attribute.split("."):
            function = getattr(function, part)
    except Exception as err:  # the module's own code runs here
        raise SearchError(f"eval {name}: cannot be imported: {_first_line(err)}") from err
    if not callable(function):
        raise SearchError(f"eval {name}: is a {type(function).__name__}, expected a function")
    return checked(function, name)


def checked(function: Callable[[str], object], name: str) -> Evaluate:
    """`function` with errors that say what failed on which candidate; partial results are kept by who calls it."""

    def evaluate(model: Path) -> float:
        try:
            score = function(str(model))
        except Exception as err:
            raise SearchError(
                f"eval {name}: raised on {model}: {_first_line(err)}; what is known is kept, --resume goes on from there"
            ) from err
        if not isinstance(score, numbers.Real) or not math.isfinite(score):
            raise SearchError(
                f"eval {name}: returned {score!r} on {model}, expected a finite number; "
                "what is known is kept, --resume goes on from there"
            )
        return float(score)

    return evaluate


def _first_line(err: BaseException) -> str:
    lines = str(err).splitlines()
    return f"{type(err).__name__}: {lines[0]}" if lines else type(err).__name__
