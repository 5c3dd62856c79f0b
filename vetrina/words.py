"""Wording of messages."""

import difflib
from collections.abc import Collection


def counted(count: int, one: str, many: str) -> str:
    """The number with its noun: "1 batch", "3 batches"."""
    return f"{count} {one if count == 1 else many}"


def in_utf8(text: str) -> str:
    """The text, with what is no UTF-8 in it spelt out: names on disk need not be text, what is stored must be."""
    return text.encode("utf-8", "backslashreplace").decode()


def nearest(name: str, known: Collection[str]) -> str:
    """The known names that are near, as a question, or else the first eight of them."""
    folded = {other.casefold(): other for other in known}
    near = [folded[other] for other in difflib.get_close_matches(name.casefold(), folded, n=3)]
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    first = list(known)[:8]
    return f"there is {', '.join(map(repr, first))}" if first else "the catalogs have no attributes"
