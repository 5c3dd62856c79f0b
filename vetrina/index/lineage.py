"""Where the items of an index version come from."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from vetrina.catalog.batches import list_batches
from vetrina.errors import StoreError
from vetrina.index.manifest import ITEMS
from vetrina.index.versions import Published, version_folder
from vetrina.store import Store


@dataclass(frozen=True, slots=True)
class BatchShare:
    """What one batch has in an index: products that it answers for, and their items."""

    batch: str
    products: int
    items: int


def batches_in(store: Store, published: Published) -> list[BatchShare]:
    """The batches with items in an index version, newest first. Raises StoreError."""
    path = f"{version_folder(published.version)}/{ITEMS}"
    try:
        with store.open(path) as handle:
            rows = pq.read_table(handle, columns=["batch", "product_id"])
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise StoreError(f"{path} cannot be read; publish the index again ({error})") from error
    found = rows.group_by("batch").aggregate([("product_id", "count_distinct"), ("product_id", "count")])
    shares = {
        row["batch"]: BatchShare(row["batch"], row["product_id_count_distinct"], row["product_id_count"])
        for row in found.to_pylist()
    }
    return [shares[batch.key] for batch in reversed(list_batches(store)) if batch.key in shares]
