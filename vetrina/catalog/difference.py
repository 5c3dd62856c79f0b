"""What a catalog would change if it were taken in as the whole of its catalog, and whether that may be believed.

Nothing is written here: the difference is known before a batch exists.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from vetrina.catalog.batches import list_batches, newest_of
from vetrina.catalog.checking import whole_rows
from vetrina.catalog.reading import CatalogRow
from vetrina.catalog.shop import DUPLICATE, read_report, refused_rows, row_digest, shop_now
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
        refused_otherwise: whether other rows are rejected or repeat an id, or for other reasons, than in the catalog's
            newest batch.
    """

    rows: int
    rejected: int
    new: int
    changed: int
    unchanged: int
    removed: int
    vanished: int
    brought: int
    refused_otherwise: bool

    @property
    def is_empty(self) -> bool:
        """Whether the shop would stay as it is, and so would what is known of rows that cannot be used."""
        return not (self.new or self.changed or self.removed or self.vanished or self.refused_otherwise)

    @property
    def share_removed(self) -> float:
        """Share (0 to 1) of this catalog's products that would go."""
        return min(1.0, (self.vanished + self.removed) / self.brought) if self.brought else 0.0


def snapshot_difference(store: Store, found: SourceFile, options: ReadOptions, catalog: str) -> Difference:
    """What `found` would change as the whole of `catalog`. Raises CatalogError when it is not whole."""
    shop = shop_now(store)
    sequences = {batch.sequence for batch in list_batches(store) if batch.catalog == catalog}
    digests: dict[str, str] = {}  # the last row of each id wins; empty: it removes the product
    refused: Counter[_Refused] = Counter()
    rows = rejected = 0
    for row in whole_rows(
        found.file, name=found.name, base=found.base, columns=options.columns, allow_outside=options.allow_outside
    ):
        rows += 1
        if isinstance(row, CatalogRow):
            if row.product_id in digests:
                refused[row.product_id, DUPLICATE, ""] += 1
            digests[row.product_id] = "" if row.removed else row_digest(row)
        else:
            refused[row.product_id, row.reason, row.detail] += 1
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
        refused_otherwise=refused != _refused_before(store, catalog),
    )


_Refused = tuple[str | None, str, str]
"""Product, reason and detail of a row that cannot be used; not its line, nor that of the row which replaces it."""


def _refused_before(store: Store, catalog: str) -> Counter[_Refused]:
    newest = newest_of(list_batches(store), catalog)
    report = None if newest is None else read_report(store, newest)
    if newest is None or report is None or report.error is not None:
        return Counter()
    rows = refused_rows(store, newest)
    return Counter((row.product_id, row.reason, "" if row.reason == DUPLICATE else row.detail) for row in rows)


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
