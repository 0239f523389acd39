"""Structured pruning: a model with fewer channels, attention heads and neurons, and no zeros."""

from edgesparse.prune.structured.groups import KINDS
from edgesparse.prune.structured.importance import IMPORTANCE
from edgesparse.prune.structured.shrink import Shrunk, check_shrink, shrink

__all__ = ["IMPORTANCE", "KINDS", "Shrunk", "check_shrink", "shrink"]
