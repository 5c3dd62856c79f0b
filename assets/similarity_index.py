"""The index of all batches, published as one version."""

import dagster as dg

from assets.embeddings import embeddings
from assets.steps import GPU_POOL, GPU_STEP
from resources.index import IndexResource
from resources.models import DetectorResource, ExtractorResource
from resources.storage import StoreResource
from vetrina.index.publishing import publish_index
from vetrina.index.versions import version_folder


@dg.asset(
    # Every batch feeds it, but the store says which there are: a missing partition must not fail the build.
    deps=[dg.AssetDep(embeddings, partition_mapping=dg.AllPartitionMapping())],
    group_name="search",
    kinds={"annoy"},
    pool=GPU_POOL,
    op_tags=GPU_STEP,
    description="One immutable, checksummed version of the index over all finished batches; rebuilt when they change.",
)
def similarity_index(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    detector: DetectorResource,
    extractor: ExtractorResource,
    index: IndexResource,
) -> dg.MaterializeResult:
    """Build and publish, or find that nothing changed."""
    fingerprints = {
        "detector": detector.open().fingerprint,
        "labels": detector.labels_fingerprint(),
        "extractor": extractor.open().fingerprint,
        "embeddings": extractor.embeddings_fingerprint(detector),
    }
    report = publish_index(store.open(), fingerprints["embeddings"], index.settings(), fingerprints, index.device)
    manifest = report.manifest
    return dg.MaterializeResult(
        metadata={
            "version": report.published.version,
            "number": report.published.number,
            "built": report.built,
            "products": manifest.products,
            "items": manifest.items,
            "dims": manifest.dims,
            "batches": len(manifest.sources),
            "serve_with": manifest.serve_with,
            "why": manifest.serve_reason,
            "recall": manifest.recall["recall"],
            "recall_lower_95": manifest.recall["lower_95"],
            "recall_by_label": dg.MetadataValue.json(manifest.recall["by_label"]),
            "annoy": dg.MetadataValue.json(manifest.annoy),
            "fingerprints": dg.MetadataValue.json(fingerprints),
            "path": version_folder(report.published.version),
        }
    )
