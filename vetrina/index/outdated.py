"""Batches that older models or settings embedded and the ones in use did not: an index made now would lose them."""

from __future__ import annotations

from vetrina.catalog.batches import Batch, list_batches
from vetrina.index.sources import CATALOGUED, index_sources
from vetrina.store import Store


def outdated_batches(store: Store, fingerprint: str, sources: dict[str, str] | None = None) -> list[Batch]:
    """The batches that have embeddings, but none that the fingerprint names, by sequence.

    Args:
        fingerprint: of the embeddings in use (`embeddings_fingerprint`).
        sources: `index_sources` of that fingerprint, where it is known already.
    """
    made = index_sources(store, fingerprint) if sources is None else sources
    waiting = (batch for batch in list_batches(store) if made.get(batch.key) == CATALOGUED)
    return [batch for batch in waiting if store.names(batch.path("embeddings"))]
