"""Run edgesparse artifacts: `Model("model.esp", threads=4).run({"x": array})`."""

from edgesparse_runtime._library import EdgesparseRuntimeError
from edgesparse_runtime._model import Model, StepTiming, Tensor

__all__ = ["EdgesparseRuntimeError", "Model", "StepTiming", "Tensor"]
__version__ = "0.1.0"
