"""Judgements over a published index and its table: is it good enough, complete, and at one with the store?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vetrina.catalog.batches import Batch
from vetrina.errors import StoreError
from vetrina.index.manifest import ITEMS, Manifest
from vetrina.index.versions import Published, version_folder
from vetrina.quality.verdict import Verdict
from vetrina.store import Store, blob_path
from vetrina.words import counted

RECALL = "recall_meets_target"
COMPLETE = "holds_every_batch"
PICTURES = "pictures_are_stored"
TABLE = "table_matches_index"
FILLED = "k_is_filled"
_SAMPLED = 200
_NAMED = 5


def judge_recall(recall: dict[str, object], serve_with: str) -> Verdict:
    """Whether searches find enough of the true neighbours.

    Args:
        recall: as an index manifest has it.
    """
    facts = {name: recall[name] for name in ("recall", "lower_95", "target", "k", "queries")}
    measured = f"Annoy finds {recall['lower_95']:.4f} of the true {recall['k']} nearest (target {recall['target']})"
    if recall["met"]:
        return Verdict(RECALL, True, measured, facts)
    if serve_with == "exact":
        return Verdict(RECALL, True, f"{measured}; searches are exact, so none is missed", facts)
    return Verdict(
        RECALL,
        False,
        f"{measured}. The index was not published; set VETRINA_SERVE_WITH to auto or exact, or VETRINA_TREES and "
        "VETRINA_SEARCH_K to 0",
        facts,
    )


def judge_complete(manifest: Manifest, outdated: Sequence[Batch]) -> Verdict:
    """Whether a batch had to be left out, since other models or settings embedded it."""
    facts = {"batches": len(manifest.sources), "left_out": [batch.key for batch in outdated[:_SAMPLED]]}
    if not outdated:
        return Verdict(COMPLETE, True, f"All {len(manifest.sources)} batches are in the index", facts)
    return Verdict(
        COMPLETE,
        False,
        f"{counted(len(outdated), 'batch is', 'batches are')} left out, embedded by other models or settings only: "
        f"{_some([batch.key for batch in outdated])}. Backfill `crops`, `label_table` and `embeddings` for them; the "
        "index is rebuilt by itself",
        facts,
    )


def judge_pictures(store: Store, published: Published) -> Verdict:
    """Whether the pictures that the index shows are in the store; up to 200 are looked for."""
    shas = sorted(set(_items(store, published, "sha256")))
    sample = [shas[at] for at in np.unique(np.linspace(0, len(shas) - 1, min(len(shas), _SAMPLED)).astype(int))]
    missing = [sha256 for sha256 in sample if not store.exists(blob_path(sha256))]
    facts = {"pictures": len(shas), "looked_for": len(sample), "missing": missing[:_NAMED]}
    if not missing:
        return Verdict(PICTURES, True, f"{len(sample)} of {len(shas)} pictures looked for, all there", facts)
    return Verdict(
        PICTURES,
        False,
        f"{len(missing)} of {len(sample)} pictures looked for are not in the store: {_some(missing)}. Restore blobs/ "
        "from a backup, or materialize `raw_images` of all batches again",
        facts,
    )


def judge_table(store: Store, published: Published, table: str, k: int, may_be_short: int = 0) -> list[Verdict]:
    """Whether the table names the index's products and no others, and gives each as many as there are.

    Args:
        table: path of the Parquet table.
        k: similar products that each should have.
        may_be_short: how many may have fewer, or none, since all other products show a picture again.
    """
    indexed = set(_items(store, published, "product_id"))
    try:
        with store.open(table) as handle:
            rows = pq.read_table(handle, columns=["product_id", "similar_id"])
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        fault = f"{table} cannot be read; materialize `similar_products` again ({error})"
        return [Verdict(TABLE, False, fault), Verdict(FILLED, False, fault)]
    expected = min(k, len(indexed) - 1)
    counted = rows.group_by("product_id").aggregate([("similar_id", "count_distinct")]).to_pydict()
    counts = {str(product): int(count) for product, count in zip(*counted.values(), strict=True)}
    strangers = ({*counts} | {str(other) for other in rows["similar_id"].unique().to_pylist()}) - indexed
    absent = indexed - {*counts} if expected else set()
    wrong = sorted(strangers | (absent if len(absent) > may_be_short else set()))
    short = sorted(product for product in indexed if counts.get(product, 0) < expected)
    filled = len(short) <= may_be_short
    because = f"; {len(short)} have fewer, as the others show a picture again" if short else ""
    facts = {"products": len(indexed), "not_in_the_index": len(strangers), "not_in_the_table": len(absent)}
    return [
        Verdict(TABLE, True, f"Table and index name the same {len(indexed)} products", facts)
        if not wrong
        else Verdict(
            TABLE,
            False,
            f"Table and index {published.version} differ in {len(wrong)} products: {_some(wrong)}. Delete {table} and "
            "its table.json, and materialize `similar_products` again",
            facts,
        ),
        Verdict(
            FILLED,
            True,
            f"Every product has {expected} similar ones{because}",
            {"k": k, "expected": expected, "short": len(short)},
        )
        if filled
        else Verdict(
            FILLED,
            False,
            f"{len(short)} products have fewer than {expected} similar ones: {_some(short)}. Delete {table} and its "
            "table.json, and materialize `similar_products` again",
            {"k": k, "expected": expected, "short": len(short)},
        ),
    ]


def _items(store: Store, published: Published, column: str) -> list[str]:
    path = f"{version_folder(published.version)}/{ITEMS}"
    try:
        with store.open(path) as handle:
            return [str(value) for value in pq.read_table(handle, columns=[column])[column].unique().to_pylist()]
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise StoreError(f"{path} cannot be read; publish the index again ({error})") from error


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
