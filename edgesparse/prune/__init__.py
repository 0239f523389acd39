"""Turn weights into zeros, or take channels, heads and neurons out: ONNX in, ONNX out."""

from edgesparse.prune.agreement import Agreement, compare_outputs
from edgesparse.prune.allocation import ALLOCATIONS
from edgesparse.prune.methods import METHODS
from edgesparse.prune.permutation import Permuted, check_permute, permute
from edgesparse.prune.prunable import prunable
from edgesparse.prune.report import GroupReport, LayerReport, PruneReport, ShrunkReport, merged, with_notes
from edgesparse.prune.samples import check_samples
from edgesparse.prune.structured import IMPORTANCE, KINDS, Shrunk, check_shrink, shrink
from edgesparse.prune.synthetic import synthetic
from edgesparse.prune.zeros import MATCHES, Pruned, named, pattern_called, prune, prune_alone

__all__ = [
    "ALLOCATIONS",
    "IMPORTANCE",
    "KINDS",
    "MATCHES",
    "METHODS",
    "Agreement",
    "GroupReport",
    "LayerReport",
    "Permuted",
    "PruneReport",
    "Pruned",
    "Shrunk",
    "ShrunkReport",
    "check_permute",
    "check_samples",
    "check_shrink",
    "compare_outputs",
    "merged",
    "named",
    "pattern_called",
    "permute",
    "prunable",
    "prune",
    "prune_alone",
    "shrink",
    "synthetic",
    "with_notes",
]
