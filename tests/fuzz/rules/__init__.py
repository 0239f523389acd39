"""How a use of each operator is drawn: one file a family of operators, and one of patterns of several."""

from tests.fuzz.rules import elementwise, indexing, patterns, products, reducing, shaping, windows
from tests.fuzz.rules.registry import PATTERNS, RULES, Rule

__all__ = [
    "PATTERNS",
    "RULES",
    "Rule",
    "elementwise",
    "indexing",
    "patterns",
    "products",
    "reducing",
    "shaping",
    "windows",
]
