"""Atoms: one index of one axis each. Atoms that must go together are united; an atom that must stay is frozen."""

from __future__ import annotations

import numpy as np

Labels = np.ndarray
"""The atom behind each index of an axis, [size of the axis] int64."""


class Atoms:
    """A disjoint-set forest over atoms; a set is frozen with a reason as soon as one of its atoms is."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._frozen: dict[int, str] = {}
        self._heads: set[int] = set()

    def __len__(self) -> int:
        return len(self._parent)

    def fresh(self, count: int) -> Labels:
        """`count` new atoms, each a set of its own."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def find(self, atom: int) -> int:
        """The atom that stands for the set of `atom`."""
        root = atom
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[atom] != root:
            self._parent[atom], atom = root, self._parent[atom]
        return root

    def unite(self, ones: Labels, others: Labels) -> None:
        """Make ones[i] and others[i] go together, for each i."""
        for one, other in zip(ones.tolist(), others.tolist(), strict=True):
            kept, gone = self.find(one), self.find(other)
            if kept == gone:
                continue
            self._parent[gone] = kept
            if (reason := self._frozen.pop(gone, None)) is not None:
                self._frozen.setdefault(kept, reason)
            if gone in self._heads:
                self._heads.add(kept)

    def freeze(self, labels: Labels, reason: str) -> None:
        """Keep these atoms; the first reason stands."""
        for atom in labels.tolist():
            self._frozen.setdefault(self.find(atom), reason)

    def mark_heads(self, labels: Labels) -> None:
        """Note that these atoms are attention heads."""
        self._heads.update(self.find(atom) for atom in labels.tolist())

    def frozen(self, atom: int) -> str | None:
        """Why the set of `atom` must stay, or None."""
        return self._frozen.get(self.find(atom))

    def is_head(self, atom: int) -> bool:
        """Whether the set of `atom` is an attention head."""
        return self.find(atom) in self._heads

    def roots(self) -> np.ndarray:
        """For every atom the one that stands for its set."""
        roots = np.array(self._parent, np.int64)
        while (roots[roots] != roots).any():
            roots = roots[roots]
        return roots
