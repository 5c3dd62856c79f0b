"""Disjoint sets: which of many things hang together, directly or through others."""

from __future__ import annotations

import numpy as np


class DisjointSets:
    """Disjoint sets of 0..n-1 (union by smallest member)."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count)

    def root(self, member: int) -> int:
        """The member that stands for all of its set."""
        while self._parent[member] != member:
            self._parent[member] = self._parent[self._parent[member]]
            member = int(self._parent[member])
        return member

    def join(self, one: int, other: int) -> bool:
        """Unite the sets of two members; False when they were one already."""
        low, high = sorted((self.root(one), self.root(other)))
        self._parent[high] = low
        return low != high
