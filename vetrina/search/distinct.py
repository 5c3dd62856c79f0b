"""Answers without near-duplicates: no result shows the picture of the query or that of a better result again.

What counts as the same picture, and why, is said in `vetrina.pictures.likeness`. Here only the few pictures of an
answer are compared, so it costs the same in a shop of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vetrina.pictures.likeness import SHOWN, TAKEN, without_repeats
from vetrina.pictures.prints import Prints
from vetrina.search.answers import Answer, Neighbour


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A product that was left out, and the better result (or the query, as None) whose picture it shows again."""

    product_id: str
    same_as: str | None


def distinct_answer(
    prints_of: Callable[[Sequence[str]], Prints], search: Callable[[int], Answer], k: int, shown: Sequence[str]
) -> tuple[Answer, list[LeftOut]]:
    """The k best whose pictures are not near-duplicates, and what was left out for it.

    Args:
        prints_of: the prints of stored pictures (sha256 each), in their order.
        search: the answer for any k. It is asked for more until k are left or there are no more.
        shown: sha256 of the query's stored pictures.
    """
    want = k
    while True:
        answer = search(want)
        kept, left_out = _apart(prints_of, answer.neighbours, shown, k)
        if len(kept) >= k or len(answer.neighbours) < want:
            return replace(answer, neighbours=kept), left_out
        want *= 2


def _apart(
    prints_of: Callable[[Sequence[str]], Prints], neighbours: Sequence[Neighbour], shown: Sequence[str], k: int
) -> tuple[list[Neighbour], list[LeftOut]]:
    pictures = [found.item.sha256 for found in neighbours]
    place = {sha256: number for number, sha256 in enumerate(dict.fromkeys([*shown, *pictures]))}
    prints = prints_of(list(place))
    taken, verdicts = without_repeats(
        prints, [place[sha256] for sha256 in shown], [place[sha256] for sha256 in pictures], k
    )
    left_out = [
        LeftOut(found.product_id, None if verdict == SHOWN else neighbours[verdict].product_id)
        for found, verdict in zip(neighbours, verdicts, strict=False)
        if verdict != TAKEN
    ]
    return [neighbours[number] for number in taken], left_out
