"""The catalog of a batch: its rows, checked; only what changed."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.batches import Made, each_batch
from assets.failures import NETWORK_RETRIES
from assets.partitions import catalog_batch
from assets.steps import CPU_STEP
from resources.storage import StoreResource
from vetrina.catalog.batches import Batch
from vetrina.catalog.shop import catalogue_batch


@dg.asset(
    partitions_def=catalog_batch,
    retry_policy=NETWORK_RETRIES,
    group_name="products",
    kinds={"parquet"},
    op_tags=CPU_STEP,
    description="The rows of one catalog batch, checked. It holds only what changed since the batches before it.",
)
def catalog(context: dg.AssetExecutionContext, store: StoreResource) -> Iterator[Any]:
    """Read the batch's catalog file."""
    kept = store.open()

    def work(batch: Batch) -> list[Made]:
        report = catalogue_batch(kept, batch)
        metadata = {
            "dagster/partition_row_count": report.accepted + report.removed + report.removed_by_snapshot,
            "rows": report.rows,
            "accepted": report.accepted,
            "unchanged": report.unchanged,
            "superseded": report.superseded,
            "rejected": report.rejected,
            "removed": report.removed + report.removed_by_snapshot,
            "removed_by_snapshot": report.removed_by_snapshot,
            "reasons": dg.MetadataValue.json(report.reasons),
            "source": batch.source,
            "mode": batch.mode,
            "sequence": batch.sequence,
        }
        return [Made("catalog", metadata, batch.sha256[:16])]

    yield from each_batch(context, kept, work)
