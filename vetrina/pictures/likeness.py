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

    A picture is the same as itself, and as those within the limits; one that could not be read only as itself.

    Args:
        prints: of any pictures, each once. shown, offered: places in them.

    Returns:
        The numbers of the offers that were taken; and for each offer, up to the one that made k, a verdict: TAKEN,
        SHOWN where it shows what is shown already, else the number of the offer it repeats.
    """
    places = np.array([*shown, *offered], np.int64)
    same = _same(prints, places)
    first = len(shown)
    if not same[first:].any():
        count = min(k, len(offered))
        return list(range(count)), [TAKEN] * count
    before = list(range(first))
    taken: list[int] = []
    verdicts: list[int] = []
    for number in range(len(offered)):
        if len(taken) == k:
            break
        line = same[first + number]
        repeats = next((other for other in before if line[other]), None)
        if repeats is None:
            taken.append(number)
            before.append(first + number)
            verdicts.append(TAKEN)
        else:
            verdicts.append(max(repeats - first, SHOWN))
    return taken, verdicts


def _same(prints: Prints, places: np.ndarray) -> np.ndarray:
    """Which of some pictures show the same as an earlier one: bool [n, n], for each the earlier ones."""
    same: np.ndarray = places[:, None] == places[None, :]
    hashes, known = prints.hashes[places], prints.known[places]
    near = (differing_bits(hashes, hashes) <= DEFAULT_LIMITS.bits) & known[:, None] & known[None, :] & ~same
    ones, others = np.nonzero(np.tril(near, -1))
    if len(ones):
        same[ones, others] = _alike(prints, places[ones], places[others], DEFAULT_LIMITS)
    return np.tril(same, -1)
