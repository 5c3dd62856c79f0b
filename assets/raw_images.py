"""The pictures of a batch: fetched once, kept by content."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

import dagster as dg
from pydantic import Field

from assets.batches import Made, each_batch
from assets.catalog import catalog
from assets.failures import NETWORK_RETRIES
from assets.partitions import catalog_batch
from assets.previews import strip
from assets.progress import progress_of
from assets.steps import CPU_STEP
from resources.pictures import DecoderResource, FetcherResource
from resources.storage import StoreResource
from vetrina.catalog.batches import Batch
from vetrina.models import fingerprint_of
from vetrina.pictures.collecting import collect_pictures, failures
from vetrina.pictures.decoding import Picture
from vetrina.store import blob_path
from vetrina.tables import IMAGES, read_rows


class RawImagesConfig(dg.Config):
    """What a run may ask for."""

    retry_failed: bool = Field(default=False, description="Ask again for pictures that failed for good.")


@dg.asset(
    partitions_def=catalog_batch,
    retry_policy=NETWORK_RETRIES,
    deps=[catalog],
    group_name="products",
    kinds={"image"},
    op_tags=CPU_STEP,
    description="The batch's pictures by sha256, and the outcome of every one: fetched, unchanged, reused or failed.",
)
def raw_images(
    context: dg.AssetExecutionContext,
    config: RawImagesConfig,
    store: StoreResource,
    fetcher: FetcherResource,
    decoder: DecoderResource,
) -> Iterator[Any]:
    """Fetch the pictures that the store lacks."""
    kept = store.open()
    with fetcher.open() as fetching, decoder.open() as decoders:

        def work(batch: Batch) -> list[Made]:
            report = collect_pictures(
                kept,
                batch,
                fetching,
                decoders,
                retry_failed=config.retry_failed,
                progress=progress_of(context, "pictures"),
            )
            rows = list(read_rows(kept, batch.path("images.parquet"), IMAGES, ["product_id", "state", "sha256"]))
            usable = islice((row["sha256"] for row in rows if row["state"] == "ok"), 8)
            loaders = [
                (sha256, lambda sha256=sha256: kept.read(blob_path(sha256), unchanging=True)) for sha256 in usable
            ]
            samples = [found.pixels for _, found in decoders.decode_all(loaders) if isinstance(found, Picture)]
            reasons = {f"{state}: {reason}": count for (state, reason), count in failures(kept, batch).items()}
            metadata = {
                **asdict(report),
                "dagster/partition_row_count": report.products,
                "failures": dg.MetadataValue.json(reasons),
                "samples": strip(samples),
            }
            return [Made("raw_images", metadata, fingerprint_of({"rows": [list(row.values()) for row in rows]}))]

        yield from each_batch(context, kept, work)
