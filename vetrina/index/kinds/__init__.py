"""Kinds of index behind one interface: annoy, exact, lsh and graph, for measuring them against each other.

Belongs here: how vectors are laid out, searched and counted. Does not belong here: products, filters, publishing. A
shop is served by Annoy or exactly (`VETRINA_SERVE_WITH`); the other kinds are there for comparison.
"""

from vetrina.index.kinds.folders import KINDS, build_kind, open_kind
from vetrina.index.kinds.interface import COSINE, EUCLIDEAN, Kind

__all__ = ["COSINE", "EUCLIDEAN", "KINDS", "Kind", "build_kind", "open_kind"]
