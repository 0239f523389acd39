"""Read ONNX and PyTorch models and bring them to one normal form."""

from edgesparse.frontend.binding import Bindings, bound
from edgesparse.frontend.fold import is_random
from edgesparse.frontend.inspect import ModelSummary, Signature, describe
from edgesparse.frontend.normalise import load, normalise
from edgesparse.frontend.opset import in_recent_opset
from edgesparse.frontend.picture import Frame, Preprocessing
from edgesparse.frontend.preprocess import preprocessed
from edgesparse.frontend.qoperators import is_rewritten
from edgesparse.frontend.read import blank, read
from edgesparse.frontend.remarks import remarks
from edgesparse.frontend.shapes import infer_shapes
from edgesparse.frontend.source import Examples, Source, is_onnx
from edgesparse.frontend.support import expand_functions, unsupported
from edgesparse.frontend.wellformed import require_wellformed

__all__ = [
    "Bindings",
    "Examples",
    "Frame",
    "ModelSummary",
    "Preprocessing",
    "Signature",
    "Source",
    "blank",
    "bound",
    "describe",
    "expand_functions",
    "in_recent_opset",
    "infer_shapes",
    "is_onnx",
    "is_random",
    "is_rewritten",
    "load",
    "normalise",
    "preprocessed",
    "read",
    "remarks",
    "require_wellformed",
    "unsupported",
]
