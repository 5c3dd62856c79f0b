"""The index of all batches, published as one version."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import dagster as dg

from assets.checks import INDEX_CHECKS, results
from assets.embeddings import embeddings
from assets.failures import told_to_people
from assets.previews import inline_png
from assets.steps import GPU_POOL, GPU_STEP
from resources.index import IndexResource
from resources.models import DetectorResource, ExtractorResource, model_fingerprints
from resources.storage import StoreResource
from vetrina.errors import RecallTooLow
from vetrina.index.charts import recall_png
from vetrina.index.lineage import BatchShare, batches_in
from vetrina.index.manifest import MANIFEST, Manifest
from vetrina.index.outdated import outdated_batches
from vetrina.index.publishing import publish_index
from vetrina.index.versions import version_folder
from vetrina.quality.published import judge_complete, judge_pictures, judge_recall

_LISTED = 200


@dg.asset(
    # Every batch feeds it, but the store says which there are: a missing partition must not fail the build.
    deps=[dg.AssetDep(embeddings, partition_mapping=dg.AllPartitionMapping())],
    check_specs=INDEX_CHECKS,
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
) -> Iterator[Any]:
    """Build and publish, or find that nothing changed."""
    kept = store.open()
    fingerprints = model_fingerprints(detector, extractor)
    try:
        with told_to_people():
            report = publish_index(
                kept,
                fingerprints["embeddings"],
                index.settings(),
                fingerprints,
                index.device,
                extractor=extractor.handle,
            )
    except dg.Failure as failure:
        if isinstance(failure.__cause__, RecallTooLow):
            yield from results([judge_recall(failure.__cause__.recall, "annoy")], "similarity_index")
        raise
    manifest = report.manifest
    folder = version_folder(report.published.version)
    batches = batches_in(kept, report.published)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(report.published.version),
        check_results=results(
            [
                judge_recall(manifest.recall, manifest.serve_with),
                judge_complete(manifest, outdated_batches(kept, fingerprints["embeddings"])),
                judge_pictures(kept, report.published),
            ],
            "similarity_index",
        ),
        metadata={
            "version": report.published.version,
            "number": report.published.number,
            "built": report.built,
            "products": manifest.products,
            "items": manifest.items,
            "dims": manifest.dims,
            **({"dims_choice": dg.MetadataValue.json(manifest.dims_choice)} if manifest.dims_choice else {}),
            "batches": len(manifest.sources),
            "newest_batches": _table(batches),
            "serve_with": manifest.serve_with,
            "why": manifest.serve_reason,
            "recall": manifest.recall["recall"],
            "recall_lower_95": manifest.recall["lower_95"],
            **_chart(manifest),
            "exact_classes": manifest.exact_classes,
            "recall_by_label": dg.MetadataValue.json(manifest.recall["by_label"]),
            "recall_in_filters": dg.MetadataValue.json(manifest.cells.get("filters", [])),
            "annoy": dg.MetadataValue.json(manifest.annoy),
            "fingerprints": dg.MetadataValue.json(fingerprints),
            "path": folder,
            "manifest": f"{folder}/{MANIFEST}",
        },
    )


def _chart(manifest: Manifest) -> dict[str, dg.MarkdownMetadataValue]:
    """The chart of what was measured; an index of before there was a frontier has none."""
    if "frontier" not in manifest.recall:
        return {}
    return {"recall_and_time": inline_png("recall and time", recall_png(manifest.recall))}


def _table(batches: list[BatchShare]) -> dg.TableMetadataValue:
    """The newest batches as a table; a few hundred are as many as an event row holds well."""
    return dg.MetadataValue.table(
        [dg.TableRecord(asdict(batch)) for batch in batches[:_LISTED]],
        schema=dg.TableSchema(
            [dg.TableColumn("batch", "string"), dg.TableColumn("products", "int"), dg.TableColumn("items", "int")]
        ),
    )
