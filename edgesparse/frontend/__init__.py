"""Read ONNX models and bring them to one normal form."""

from edgesparse.frontend.inspect import ModelSummary, Signature, describe
from edgesparse.frontend.normalise import load, normalise
from edgesparse.frontend.read import read
from edgesparse.frontend.support import expand_functions, unsupported

__all__ = ["ModelSummary", "Signature", "describe", "expand_functions", "load", "normalise", "read", "unsupported"]
