"""What a catalog would change if it were taken in as the whole of its catalog, and whether that may be believed.

Nothing is written here: the difference is known before a batch exists.
"""

from __future__ import annotations

from dataclasses import dataclass

from vetrina.catalog.batches import list_batches
from vetrina.catalog.checking import whole_rows
from vetrina.catalog.reading import CatalogRow
from vetrina.catalog.shop import row_digest, shop_now
from vetrina.catalog.source_files import ReadOptions, SourceFile
from vetrina.errors import CatalogError
from vetrina.store import Store


class RemovalsRefused(CatalogError):
    """A snapshot would remove a larger share of its products than is allowed without a word from a person."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A snapshot against the shop, in products but for `rows` and `rejected`, which count rows.

    Attributes:
        new: products that the shop does not hold.
        changed: products whose row says something else now.
        removed: products of the shop that a row of the file removes.
        vanished: products that this catalog brought and the file lacks, or has only in rows that cannot be used.
        brought: products of the shop that this catalog brought.
    """

    rows: int
    rejected: int
    new: int
    changed: int
    unchanged: int
    removed: int
    vanished: int
    brought: int

    @property
    def is_empty(self) -> bool:
        """Whether the shop would stay as it is."""
        return not (self.new or self.changed or self.removed or self.vanished)

    @property
    def share_removed(self) -> float:
        """Share (0 to 1) of this catalog's products that would go."""
        return min(1.0, (self.vanished + self.removed) / self.brought) if self.brought else 0.0


def snapshot_difference(store: Store, found: SourceFile, options: ReadOptions, catalog: str) -> Difference:
    """What `found` would change as the whole of `catalog`. Raises CatalogError when it is not whole."""
    shop = shop_now(store)
    sequences = {batch.sequence for batch in list_batches(store) if batch.catalog == catalog}
    digests: dict[str, str] = {}  # the last row of each id wins; empty: it removes the product
    rows = rejected = 0
    for row in whole_rows(
        found.file, name=found.name, base=found.base, columns=options.columns, allow_outside=options.allow_outside
    ):
        rows += 1
        if isinstance(row, CatalogRow):
            digests[row.product_id] = "" if row.removed else row_digest(row)
        else:
            rejected += 1
    new = changed = unchanged = removed = 0
    for product_id, digest in digests.items():
        held = shop.get(product_id)
        if not digest:
            removed += held is not None
        elif held is None:
            new += 1
        elif held.digest == digest:
            unchanged += 1
        else:
            changed += 1
    mine = [product_id for product_id, holding in shop.items() if holding.sequence in sequences]
    return Difference(
        rows=rows,
        rejected=rejected,
        new=new,
        changed=changed,
        unchanged=unchanged,
        removed=removed,
        vanished=sum(product_id not in digests for product_id in mine),
        brought=len(mine),
    )


def check_removals(difference: Difference, found: SourceFile, most: float, confirm: str) -> None:
    """Refuse a snapshot that has no usable row, or removes more than the share `most` (0 to 1) of its products.

    Args:
        confirm: how a person says that it is meant, as an imperative.

    Raises:
        RemovalsRefused: it does; the message has the numbers and says how to confirm.
    """
    if difference.rows == difference.rejected:
        raise RemovalsRefused(
            f"{found.name}: has no usable row ({difference.rejected} rejected), so as a whole catalog it would remove "
            f"all {difference.brought} products that it brought; export it again, or, if that is meant, {confirm}"
        )
    if difference.share_removed > most:
        gone = difference.vanished + difference.removed
        raise RemovalsRefused(
            f"{found.name}: would remove {gone} of the {difference.brought} products that this catalog brought "
            f"({difference.share_removed:.0%}, allowed are {most:.0%}; {difference.rejected} of its "
            f"{difference.rows} rows are rejected); check the export; if that is meant, {confirm}"
        )
