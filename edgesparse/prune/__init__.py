"""Turn weights into zeros: ONNX in, ONNX out."""

from edgesparse.prune.allocation import ALLOCATIONS
from edgesparse.prune.pruning import METHODS, Pruned, prune
from edgesparse.prune.report import LayerReport, PruneReport

__all__ = ["ALLOCATIONS", "METHODS", "LayerReport", "PruneReport", "Pruned", "prune"]
