"""edgesparse: compile sparse neural networks for the CPUs people own.

    import edgesparse

    edgesparse.compile("model.onnx", target="rpi4", sparsity=0.9)

Importing this package is cheap: the compiler is loaded by the first call that needs it.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from edgesparse.devices.targets import Target
from edgesparse.devices.targets import load as load_target
from edgesparse.devices.targets import names as target_names
from edgesparse.errors import EdgesparseError
from edgesparse.pipeline import (
    add_target,
    bench,
    classify,
    compile,
    detect,
    explain,
    inspect,
    profile,
    prune,
    read_recipe,
    recover,
    run,
    runtime,
    tune,
    verify,
)

__all__ = [
    "EdgesparseError",
    "Target",
    "add_target",
    "bench",
    "classify",
    "compile",
    "detect",
    "explain",
    "inspect",
    "load_target",
    "profile",
    "prune",
    "read_recipe",
    "recover",
    "run",
    "runtime",
    "target_names",
    "tune",
    "verify",
]


__version__: str

if not TYPE_CHECKING:

    def __getattr__(name):
        if name == "__version__":
            from importlib.metadata import version

            return version("edgesparse")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Package(ModuleType):
    """Keeps `edgesparse.prune` the function: importing the room `edgesparse/prune` would replace it."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
