"""The states a catalog row can end in. Every row is in exactly one; the counts add up to the rows."""

from enum import StrEnum


class State(StrEnum):
    """Where a catalog row ended."""

    INDEXED = "indexed"
    """Searchable, by its whole picture and by at least one detected crop."""
    INDEXED_WHOLE = "indexed_whole"
    """Searchable by its whole picture; nothing was detected on it."""
    PENDING = "pending"
    """Accepted; its pictures, embeddings or index are still to come."""
    REJECTED = "rejected"
    """The row itself is unusable (no id, no picture, ...)."""
    FETCH_FAILED = "fetch_failed"
    """The picture could not be had."""
    NOT_A_PICTURE = "not_a_picture"
    """What was fetched is not a usable picture."""
    TOO_SMALL = "too_small"
    """The picture has too few pixels to say anything."""
    REMOVED = "removed"
    """The catalog took the product out."""
    SUPERSEDED = "superseded"
    """A later row, in the same file or in a later batch, replaced it."""
    UNCHANGED = "unchanged"
    """The row says what an earlier batch said already; that batch answers for it."""


FAILED = (State.FETCH_FAILED, State.NOT_A_PICTURE, State.TOO_SMALL)
"""States of a product that was accepted but whose picture cannot be used."""
