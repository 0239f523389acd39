"""Run edgesparse artifacts: `Model("model.esp", threads=4).run({"x": array})`."""

from typing import TYPE_CHECKING

from edgesparse_runtime._figure import Figure, Origin
from edgesparse_runtime._library import EdgesparseRuntimeError, library
from edgesparse_runtime._model import Model
from edgesparse_runtime._pool import Pool
from edgesparse_runtime._profile import Profile, StepTiming, profile_of, with_readings
from edgesparse_runtime._tensors import Tensor, arrange, largest

__all__ = [
    "EdgesparseRuntimeError",
    "Figure",
    "Model",
    "Origin",
    "Pool",
    "Profile",
    "StepTiming",
    "Tensor",
    "arrange",
    "largest",
    "profile_of",
    "with_readings",
]


__version__: str

if not TYPE_CHECKING:

    def __getattr__(name):
        if name == "__version__":  # that of the library, which is loaded by its first use
            return library().es_version().decode()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
