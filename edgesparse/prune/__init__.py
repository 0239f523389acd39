"""Turn weights into zeros: ONNX in, ONNX out."""

from edgesparse.prune.allocation import ALLOCATIONS
from edgesparse.prune.choose import prunable
from edgesparse.prune.pruning import METHODS, Pruned, named, pattern_called, prune
from edgesparse.prune.report import LayerReport, PruneReport, merged

__all__ = [
    "ALLOCATIONS",
    "METHODS",
    "LayerReport",
    "PruneReport",
    "Pruned",
    "merged",
    "named",
    "pattern_called",
    "prunable",
    "prune",
]
