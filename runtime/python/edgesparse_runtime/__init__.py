"""Run edgesparse artifacts: `Model("model.esp", threads=4).run({"x": array})`."""

from edgesparse_runtime._library import EdgesparseRuntimeError, library
from edgesparse_runtime._model import Model, StepTiming, Tensor

__all__ = ["EdgesparseRuntimeError", "Model", "StepTiming", "Tensor"]


def __getattr__(name: str) -> str:
    if name == "__version__":  # that of the library, which is loaded by its first use
        return library().es_version().decode()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
