"""Which pictures show the same, told by their prints, and a choice among pictures that shows nothing twice.

The limits were measured on the sample shop (820 pictures, many of them alike: light switches, plugs, windows) with
its own pictures encoded again and resized (bench/duplicates.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vetrina.pictures.prints import Prints, cell_differences, differing_bits


@dataclass(frozen=True, slots=True)
class Limits:
    """How far two pictures may lie apart and still be the same.

    Attributes:
        cosine: of the two vectors in index space, at least, where a whole shop is compared. Low, since small pictures
            lose much of their likeness in an encoder; it keeps chance agreements of the prints out.
        bits: of the difference hashes that may differ, of 64.
        cell: largest difference in brightness of any of the 256 cells, in grey levels (0 to 255).
        spread: root mean square difference of all cells and colours, in grey levels.
    """

    cosine: float = 0.5
    bits: int = 12
    cell: float = 5.5
    spread: float = 6.0


DEFAULT_LIMITS = Limits()
TAKEN, SHOWN = -2, -1
"""Verdicts on an offer that is not the repetition of another one."""
_BLOCK = 128  # offers that are compared at once
_PAIRS = 4096  # of pictures whose cells are: some 50 MB


def show_the_same(prints: Prints, one: int, other: int, limits: Limits = DEFAULT_LIMITS) -> bool | None:
    """Whether two pictures (their places) differ as by encoding or resizing; None when one could not be read."""
    if not (prints.known[one] and prints.known[other]):
        return None
    return bool(_alike(prints, np.array([one]), np.array([other]), limits)[0])


def _alike(prints: Prints, ones: np.ndarray, others: np.ndarray, limits: Limits) -> np.ndarray:
    """Whether pairs of readable pictures show the same: bool, as long as the places."""
    cell, spread = cell_differences(prints.cells[ones], prints.cells[others])
    bits = np.bitwise_count(prints.hashes[ones] ^ prints.hashes[others])
    alike: np.ndarray = (bits <= limits.bits) & (cell <= limits.cell) & (spread <= limits.spread)
    return alike


def without_repeats(
    prints: Prints, shown: Sequence[int] | np.ndarray, offered: Sequence[int] | np.ndarray, k: int
) -> tuple[list[int], list[int]]:
    """The first k offers that show neither what is shown already nor an earlier offer that was taken.

    A picture is the same as itself, and as those within the limits; one that could not be read only as itself. Each
    picture is compared with those that are shown or taken and with some offers before it, however many there are.

    Args:
        prints: of any pictures, each once. shown, offered: places in them.

    Returns:
        The numbers of the offers that were taken; and for each offer, up to the one that made k, a verdict: TAKEN,
        SHOWN where it shows what is shown already, else the number of the offer it repeats.
    """
    offers = np.asarray(offered, np.int64).tolist()
    # What is shown or taken, by its place, with the verdict on whatever repeats it; `told` also of what was left out.
    apart: dict[int, int] = dict.fromkeys(np.asarray(shown, np.int64).tolist(), SHOWN)
    told = dict(apart)
    taken: list[int] = []
    verdicts: list[int] = []
    for start in range(0, len(offers), _BLOCK):
        block = offers[start : start + _BLOCK]
        alike = _alike_before(prints, list(apart), [place for place in dict.fromkeys(block) if place not in told])
        for number, place in enumerate(block, start):
            if len(taken) == k:
                return taken, verdicts
            verdict = told.get(place)
            if verdict is None:
                verdict = next((apart[other] for other in alike.get(place, ()) if other in apart), TAKEN)
                told[place] = verdict
                if verdict == TAKEN:
                    taken.append(number)
                    apart[place] = told[place] = number
            verdicts.append(verdict)
    return taken, verdicts


def _alike_before(prints: Prints, before: list[int], new: list[int]) -> dict[int, list[int]]:
    """For new pictures (all places, each once) those before them that are within the limits, in order."""
    if not new:
        return {}
    others = np.array([*before, *new], np.int64)
    ones = others[len(before) :]
    near = differing_bits(prints.hashes[ones], prints.hashes[others]) <= DEFAULT_LIMITS.bits
    near &= prints.known[ones][:, None] & prints.known[others]
    rows, columns = np.nonzero(np.tril(near, len(before) - 1))
    found: dict[int, list[int]] = {}
    for at in range(0, len(rows), _PAIRS):
        one, other = ones[rows[at : at + _PAIRS]], others[columns[at : at + _PAIRS]]
        same = _alike(prints, one, other, DEFAULT_LIMITS)
        for new_place, old_place in zip(one[same].tolist(), other[same].tolist(), strict=True):
            found.setdefault(new_place, []).append(old_place)
    return found
