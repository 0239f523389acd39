"""Turn weights into zeros: ONNX in, ONNX out."""

from edgesparse.prune.allocation import ALLOCATIONS
from edgesparse.prune.choose import prunable
from edgesparse.prune.methods import METHODS
from edgesparse.prune.pruning import Pruned, named, pattern_called, prune
from edgesparse.prune.report import LayerReport, PruneReport, merged
from edgesparse.prune.samples import check_samples

__all__ = [
    "ALLOCATIONS",
    "METHODS",
    "LayerReport",
    "PruneReport",
    "Pruned",
    "check_samples",
    "merged",
    "named",
    "pattern_called",
    "prunable",
    "prune",
]
