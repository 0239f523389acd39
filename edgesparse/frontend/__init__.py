"""Read ONNX models and bring them to one normal form."""

from edgesparse.frontend.normalise import load, normalise
from edgesparse.frontend.read import read
from edgesparse.frontend.support import expand_functions, unsupported

__all__ = ["expand_functions", "load", "normalise", "read", "unsupported"]
