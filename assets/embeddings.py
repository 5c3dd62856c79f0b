"""The vectors of a batch's crops."""

from dataclasses import asdict

import dagster as dg

from assets.partitions import catalog_batch
from assets.progress import progress_of
from assets.steps import GPU_POOL, GPU_STEP
from resources.models import DetectorResource, ExtractorResource
from resources.pictures import DecoderResource
from resources.storage import StoreResource
from vetrina.catalog.batches import find_batch
from vetrina.embedding.vectors import embed_crops, embeddings_path


@dg.asset(
    partitions_def=catalog_batch,
    deps=["crops", "label_table"],
    group_name="products",
    kinds={"parquet", "tensorflow"},
    pool=GPU_POOL,
    op_tags=GPU_STEP,
    description="One vector for each crop and each whole picture of the batch; new crops only pass the network.",
)
def embeddings(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    detector: DetectorResource,
    extractor: ExtractorResource,
    decoder: DecoderResource,
) -> dg.MaterializeResult:
    """Embed what is not embedded yet."""
    kept = store.open()
    batch = find_batch(kept, context.partition_key)
    with decoder.open() as decoders:
        report = embed_crops(
            kept,
            batch,
            detector.labels_fingerprint(),
            extractor.open(),
            decoders,
            workers=decoder.workers,
            progress=progress_of(context, "crops"),
        )
    fingerprint = extractor.embeddings_fingerprint(detector)
    return dg.MaterializeResult(
        metadata={
            **asdict(report),
            "dagster/partition_row_count": report.crops,
            "dims": extractor.open().dims,
            "extractor": extractor.handle,
            "fingerprint": fingerprint,
            "path": embeddings_path(batch, fingerprint),
        }
    )
