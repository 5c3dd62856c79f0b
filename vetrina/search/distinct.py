"""Answers without near-duplicates: no result shows the picture of the query or that of a better result again.

What counts as the same picture, and why, is said in `vetrina.search.duplicates`. Here only the few pictures of an
answer are compared, so it costs the same in a shop of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vetrina.pictures.prints import Prints, prints_of
from vetrina.search.duplicates import show_the_same
from vetrina.search.engine import Answer, Neighbour
from vetrina.store import Store


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A product that was left out, and the better result (or the query, as None) whose picture it shows again."""

    product_id: str
    same_as: str | None


def distinct_answer(
    store: Store, search: Callable[[int], Answer], k: int, shown: Sequence[str]
) -> tuple[Answer, list[LeftOut]]:
    """The k best whose pictures are not near-duplicates, and what was left out for it.

    Args:
        search: the answer for any k. It is asked for more until k are left or there are no more.
        shown: sha256 of the query's stored pictures.
    """
    want = k
    while True:
        answer = search(want)
        kept, left_out = _apart(store, answer.neighbours, shown, k)
        if len(kept) >= k or len(answer.neighbours) < want:
            return replace(answer, neighbours=kept), left_out
        want *= 2


def _apart(
    store: Store, neighbours: Sequence[Neighbour], shown: Sequence[str], k: int
) -> tuple[list[Neighbour], list[LeftOut]]:
    pictures = [*shown, *(found.item.sha256 for found in neighbours)]
    prints, _ = prints_of(store, pictures)
    first = len(shown)
    before: list[tuple[int, str | None]] = [(place, None) for place in range(first)]
    kept: list[Neighbour] = []
    left_out: list[LeftOut] = []
    for place, found in enumerate(neighbours, first):
        if len(kept) == k:
            break
        same = [name for other, name in before if _same(pictures, prints, place, other)]
        if same:
            left_out.append(LeftOut(found.product_id, same[0]))
        else:
            kept.append(found)
            before.append((place, found.product_id))
    return kept, left_out


def _same(pictures: Sequence[str], prints: Prints, one: int, other: int) -> bool:
    return pictures[one] == pictures[other] or bool(show_the_same(prints, one, other))
