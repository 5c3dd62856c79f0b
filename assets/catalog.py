"""The catalog of a batch: its rows, checked; only what changed."""

import dagster as dg

from assets.partitions import catalog_batch
from assets.steps import CPU_STEP
from resources.storage import StoreResource
from vetrina.catalog.batches import find_batch
from vetrina.catalog.shop import catalogue_batch


@dg.asset(
    partitions_def=catalog_batch,
    group_name="products",
    kinds={"parquet"},
    op_tags=CPU_STEP,
    description="The rows of one catalog batch, checked. It holds only what changed since the batches before it.",
)
def catalog(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:
    """Read the batch's catalog file."""
    kept = store.open()
    batch = find_batch(kept, context.partition_key)
    report = catalogue_batch(kept, batch)
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": report.accepted + report.removed + report.removed_by_snapshot,
            "rows": report.rows,
            "accepted": report.accepted,
            "unchanged": report.unchanged,
            "superseded": report.superseded,
            "rejected": report.rejected,
            "removed": report.removed + report.removed_by_snapshot,
            "reasons": dg.MetadataValue.json(report.reasons),
            "source": batch.source,
            "mode": batch.mode,
            "sequence": batch.sequence,
        }
    )
