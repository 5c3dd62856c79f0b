"""The vectors of a batch's crops."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import dagster as dg

from assets.batches import Made, each_batch
from assets.checks import EMBEDDINGS_CHECKS
from assets.partitions import catalog_batch
from assets.progress import progress_of
from assets.steps import GPU_POOL, GPU_STEP
from resources.models import DetectorResource, ExtractorResource, model_fingerprints
from resources.pictures import DecoderResource
from resources.quality import QualityResource
from resources.storage import StoreResource
from vetrina.catalog.batches import Batch
from vetrina.embedding.vectors import embed_crops, embeddings_path
from vetrina.models import fingerprint_of
from vetrina.quality.batch import judge_coverage, judge_fingerprints, judge_vectors
from vetrina.quality.drift import earlier_figures, judge_class_mix, judge_neighbour_distance, measure_batch
from vetrina.quality.verdict import Verdict
from vetrina.store import Store
from vetrina.tables import read_metadata


@dg.asset(
    partitions_def=catalog_batch,
    check_specs=EMBEDDINGS_CHECKS,
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
    quality: QualityResource,
) -> Iterator[Any]:
    """Embed what is not embedded yet."""
    kept = store.open()
    fingerprints = model_fingerprints(detector, extractor)
    fingerprint = fingerprints["embeddings"]
    with decoder.open() as decoders:

        def work(batch: Batch) -> list[Made]:
            report = embed_crops(
                kept,
                batch,
                fingerprints["labels"],
                extractor.open(kept),
                decoders,
                workers=decoder.workers,
                progress=progress_of(context, "crops"),
            )
            path = embeddings_path(batch, fingerprint)
            metadata = {
                **asdict(report),
                "dagster/partition_row_count": report.crops,
                "dims": extractor.open(kept).dims,
                "extractor": extractor.handle,
                "fingerprint": fingerprint,
                "path": path,
            }
            version = fingerprint_of({"embeddings": fingerprint, "notes": read_metadata(kept, path)})
            return [Made("embeddings", metadata, version, _judged(kept, batch, fingerprints, quality))]

        yield from each_batch(context, kept, work)


def _judged(store: Store, batch: Batch, fingerprints: dict[str, str], quality: QualityResource) -> list[Verdict]:
    fingerprint = fingerprints["embeddings"]
    figures, earlier = measure_batch(store, batch, fingerprint), earlier_figures(store, batch, fingerprint)
    return [
        judge_coverage(store, batch, fingerprint, quality.least_coverage),
        judge_vectors(store, batch, fingerprint),
        judge_fingerprints(store, batch, fingerprints),
        judge_class_mix(figures, earlier, quality.most_drift),
        judge_neighbour_distance(figures, earlier, quality.most_drift),
    ]
