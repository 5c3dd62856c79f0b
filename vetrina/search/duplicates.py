"""Near-duplicates: products that show the same picture, and the evidence for it.

Two products are alike when their pictures have the same bytes, or when the pictures differ only as an encoder or a
change of size makes them differ. Beyond that nothing is claimed: the same article photographed twice, mirrored or
cropped is not a near-duplicate. Groups are chains of such pairs.

How far apart is still the same is said in `vetrina.pictures.likeness`. A detail of a few pixels is below it: two of
the sample shop's 335 790 pairs are light switches and sockets that are taken for one picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vetrina.catalog.batches import list_batches
from vetrina.disjoint import DisjointSets
from vetrina.pictures.likeness import DEFAULT_LIMITS, Limits
from vetrina.pictures.prints import Prints, cell_differences, differing_bits
from vetrina.search.answers import Products
from vetrina.store import Store
from vetrina.tables import IMAGES, read_tables

SAME_BYTES, SAME_PICTURE = "same bytes", "same picture, encoded again or resized"
_BLOCK_CELLS = 1 << 22  # of a block of all pairs: 16 MB of float32
_PAIRS = 4096  # whose cells are compared at once


@dataclass(frozen=True, slots=True)
class Link:
    """Why two products are in one group. The measures are null where the bytes are the same."""

    first: str
    second: str
    why: str
    cosine: float | None = None
    bits: int | None = None
    cell: float | None = None
    spread: float | None = None

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Group:
    """Products (ids, sorted) that show one picture, and links that hold them together: one fewer than products."""

    product_ids: list[str]
    links: list[Link]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A product that had different pictures in different batches: (batch, sha256), oldest first."""

    product_id: str
    pictures: list[tuple[str, str]]


def find_groups(
    products: Products, prints: Prints, limits: Limits = DEFAULT_LIMITS, *, around: Collection[str] | None = None
) -> list[Group]:
    """Groups of two and more near-duplicates, by their first product id.

    Every product is compared with every other: the time grows with their square.

    Args:
        prints: of the products' pictures, in their order.
        around: only these products are compared with the others, and only groups that hold one of them are given.
    """
    sets = DisjointSets(len(products.product_ids))
    first_with: dict[str, int] = {}
    found: list[tuple[int, Link]] = []
    for place, sha256 in enumerate(products.sha256):
        first = first_with.setdefault(sha256, place)
        if sets.join(first, place):
            found.append((first, Link(products.product_ids[first], products.product_ids[place], SAME_BYTES)))
    # One product stands for all with the same bytes, so a placeholder on a thousand products makes no million pairs.
    alone = np.array([place for place in first_with.values() if prints.known[place]], np.int64)
    asking = alone
    if around is not None:
        near = {first_with[sha256] for name, sha256 in _pictures(products) if name in around}
        asking = np.array([place for place in alone.tolist() if place in near], np.int64)
    for one, other, cosine, bits, cell, spread in _same_pictures(asking, alone, products.vectors, prints, limits):
        if sets.join(one, other):
            names = products.product_ids[one], products.product_ids[other]
            found.append((one, Link(*names, SAME_PICTURE, round(cosine, 4), bits, round(cell, 1), round(spread, 1))))
    members: defaultdict[int, list[str]] = defaultdict(list)
    for place, product_id in enumerate(products.product_ids):
        members[sets.root(place)].append(product_id)
    evidence: defaultdict[int, list[Link]] = defaultdict(list)
    for place, link in found:
        evidence[sets.root(place)].append(link)
    groups = [Group(sorted(ids), evidence[root]) for root, ids in members.items() if len(ids) > 1]
    if around is not None:
        groups = [group for group in groups if any(name in around for name in group.product_ids)]
    return sorted(groups, key=lambda group: group.product_ids[0])


def _pictures(products: Products) -> Iterator[tuple[str, str]]:
    return zip(products.product_ids, products.sha256, strict=True)


def _same_pictures(
    asking: np.ndarray, places: np.ndarray, vectors: np.ndarray, prints: Prints, limits: Limits
) -> Iterator[tuple[int, int, float, int, float, float]]:
    """Pairs of places within the limits, one of them asking: the two, cosine, bits, cell and spread.

    Where all ask, each pair comes once; else also twice, and each with itself. Memory is that of a block.
    """
    if not len(asking):
        return
    everyone = len(asking) == len(places)
    units, hashes = vectors[places], prints.hashes[places]
    size = max(1, _BLOCK_CELLS // len(places))
    for start in range(0, len(asking), size):
        block = asking[start : start + size]
        first = start if everyone else 0
        cosines = vectors[block] @ units[first:].T
        near = cosines >= limits.cosine
        near &= differing_bits(prints.hashes[block], hashes[first:]) <= limits.bits
        if everyone:
            near = np.triu(near, 1)
        rows, columns = np.nonzero(near)
        for at in range(0, len(rows), _PAIRS):
            row, column = rows[at : at + _PAIRS], columns[at : at + _PAIRS]
            one, other = block[row], places[first + column]
            cell, spread = cell_differences(prints.cells[one], prints.cells[other])
            bits = np.bitwise_count(prints.hashes[one] ^ prints.hashes[other])
            for pair in np.flatnonzero((cell <= limits.cell) & (spread <= limits.spread)):
                yield (
                    int(one[pair]),
                    int(other[pair]),
                    float(cosines[row[pair], column[pair]]),
                    int(bits[pair]),
                    float(cell[pair]),
                    float(spread[pair]),
                )


def duplicates_of(groups: Sequence[Group]) -> dict[str, list[str]]:
    """For each product in a group the others of that group."""
    return {
        product_id: [other for other in group.product_ids if other != product_id]
        for group in groups
        for product_id in group.product_ids
    }


def find_conflicts(store: Store) -> list[Conflict]:
    """Products that had another picture in an earlier batch, by id: a new photo, or one id for two articles."""
    newest: dict[str, str] = {}
    seen: dict[str, list[tuple[str, str]]] = {}
    first: dict[str, str] = {}
    for batch in list_batches(store):
        try:
            tables = read_tables(store, batch.path("images.parquet"), IMAGES, ["product_id", "sha256"])
            pictures = [pair for table in tables for pair in zip(*table.to_pydict().values(), strict=True)]
        except FileNotFoundError:
            continue  # not worked yet
        for product_id, sha256 in pictures:
            if sha256 is None or newest.get(product_id) == sha256:
                continue
            if product_id in newest:
                seen.setdefault(product_id, [(first[product_id], newest[product_id])]).append((batch.key, sha256))
            else:
                first[product_id] = batch.key
            newest[product_id] = sha256
    return [Conflict(product_id, pictures) for product_id, pictures in sorted(seen.items())]
