"""Asset checks: their names and what Dagster is told of a judgement. How is judged stands in `vetrina.quality`.

Checks run inside the step that makes the asset: what they look at is at hand there, and a step of its own would
cost a process, under Kubernetes a pod, for each.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import dagster as dg

from assets.partitions import catalog_batch
from vetrina.quality import batch, drift, published
from vetrina.quality.verdict import Verdict

_WARNINGS = {batch.COVERAGE, drift.CLASS_MIX, drift.NEAREST, published.COMPLETE, published.FILLED}
"""Checks that speak to a person and stop nothing; the others find faults."""


def _batch_check(name: str, description: str) -> dg.AssetCheckSpec:
    with warnings.catch_warnings():
        # A preview in Dagster 1.13; without it the batches would overwrite each other's results.
        warnings.simplefilter("ignore")
        return dg.AssetCheckSpec(name, asset="embeddings", description=description, partitions_def=catalog_batch)


EMBEDDINGS_CHECKS = [
    _batch_check(batch.COVERAGE, "Enough of the batch's new rows are searchable (VETRINA_COVERAGE_WARNING)."),
    _batch_check(batch.VECTORS, "Every vector is finite and of length 1."),
    _batch_check(batch.FINGERPRINTS, "All vectors come from the models in use."),
    _batch_check(drift.CLASS_MIX, "Classes come in the shares of earlier batches (VETRINA_DRIFT_WARNING)."),
    _batch_check(drift.NEAREST, "Pictures are as near to earlier ones as usual (VETRINA_DRIFT_WARNING)."),
]
INDEX_CHECKS = [
    dg.AssetCheckSpec(
        published.RECALL,
        asset="similarity_index",
        blocking=True,
        description="Searches find enough of the true neighbours; an index that does not is not published.",
    ),
    dg.AssetCheckSpec(
        published.COMPLETE,
        asset="similarity_index",
        description="No batch is left out because only other models or settings embedded it.",
    ),
    dg.AssetCheckSpec(
        published.PICTURES, asset="similarity_index", description="The pictures that the index shows are stored."
    ),
]
TABLE_CHECKS = [
    dg.AssetCheckSpec(published.TABLE, asset="similar_products", description="Table and index name the same products."),
    dg.AssetCheckSpec(published.FILLED, asset="similar_products", description="Every product has its k neighbours."),
]


def results(verdicts: Sequence[Verdict], asset: str) -> list[dg.AssetCheckResult]:
    """What a step of one batch, or of none, tells Dagster."""
    return [
        dg.AssetCheckResult(
            asset_key=asset,
            check_name=verdict.check,
            passed=verdict.passed,
            severity=severity(verdict),
            description=verdict.message,
            metadata=_metadata(verdict),
        )
        for verdict in verdicts
    ]


def evaluations(verdicts: Sequence[Verdict], asset: str, batch_key: str) -> list[dg.AssetCheckEvaluation]:
    """What a step of several batches tells Dagster of one of them."""
    return [
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(asset),
            check_name=verdict.check,
            passed=verdict.passed,
            severity=severity(verdict),
            description=verdict.message,
            metadata=_metadata(verdict),
            partition=batch_key,
        )
        for verdict in verdicts
    ]


def severity(verdict: Verdict) -> dg.AssetCheckSeverity:
    """How bad it would be if the check failed."""
    return dg.AssetCheckSeverity.WARN if verdict.check in _WARNINGS else dg.AssetCheckSeverity.ERROR


def _metadata(verdict: Verdict) -> dict[str, dg.MetadataValue]:
    return {
        name: dg.MetadataValue.json(value) if isinstance(value, dict | list) else _plain(value)
        for name, value in verdict.facts.items()
    }


def _plain(value: object) -> dg.MetadataValue:
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(value)
    return dg.MetadataValue.text(str(value))
