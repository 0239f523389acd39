"""The user's own judge: a function that takes the path of an ONNX model and returns a number, higher is better."""

from __future__ import annotations

import importlib
import math
import numbers
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgesparse.errors import SearchError

KEPT = "what is known is kept, --resume goes on from there"


@dataclass(frozen=True)
class Judge:
    """The function called `name`, whose results and failures are checked."""

    name: str  # package.module:function
    function: Callable[[str], object]

    def score(self, model: Path) -> float:
        """What the function says of a model.

        Raises: SearchError: it raises, or returns something else than a finite number.
        """
        try:
            score = self.function(str(model))
        except Exception as err:  # the user's code runs here
            raise SearchError(f"eval {self.name}: raised on {model}: {_first_line(err)}; {KEPT}") from err
        if isinstance(score, bool) or not isinstance(score, numbers.Real) or not math.isfinite(score):
            raise SearchError(f"eval {self.name}: returned {score!r} on {model}, expected a finite number; {KEPT}")
        return float(score)


def load_judge(name: str) -> Judge:
    """The function called "package.module:function"; modules are looked for in the working directory too.

    Raises: SearchError: there is no such function, or importing its module fails.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise SearchError(f"eval: got {name!r}, expected package.module:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except Exception as err:  # the module's own code runs here
        raise SearchError(f"eval {name}: cannot be imported: {_first_line(err)}") from err
    if not callable(function):
        raise SearchError(f"eval {name}: is a {type(function).__name__}, expected a function")
    return Judge(name, function)


def _first_line(err: BaseException) -> str:
    lines = str(err).splitlines()
    return f"{type(err).__name__}: {lines[0]}" if lines else type(err).__name__
