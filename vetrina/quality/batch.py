"""Judgements over one batch: how much of it became searchable, and whether its vectors can be searched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vetrina.catalog.batches import Batch
from vetrina.catalog.shop import read_report
from vetrina.embedding.vectors import embeddings_path
from vetrina.errors import StoreError
from vetrina.pictures.collecting import failures
from vetrina.quality.verdict import Verdict
from vetrina.store import Store
from vetrina.tables import read_metadata

COVERAGE = "coverage"
VECTORS = "vectors_are_sound"
FINGERPRINTS = "one_model_only"
_NORM_TOLERANCE = 1e-3
_EXAMPLES = 5


def judge_coverage(store: Store, batch: Batch, embeddings: str, least: float) -> Verdict:
    """Whether enough of the batch's new rows are searchable.

    Rows that say nothing new (unchanged, superseded, removals) do not count.

    Args:
        embeddings: fingerprint of the embeddings in use.
        least: share of the rows, 0 to 1.
    """
    report = read_report(store, batch)
    if report is None:
        return Verdict(COVERAGE, False, "The batch was not catalogued; materialize `catalog` first")
    rows = report.accepted + report.rejected
    searchable = _products(store, embeddings_path(batch, embeddings))
    share = searchable / rows if rows else 1.0
    reasons = Counter(report.reasons)
    reasons.update({f"{state}: {reason}": count for (state, reason), count in failures(store, batch).items()})
    facts = {"rows": rows, "searchable": searchable, "share": round(share, 4), "reasons": dict(reasons.most_common())}
    if share >= least:
        return Verdict(COVERAGE, True, f"{searchable} of {rows} new rows are searchable", facts)
    worst = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3)) or "no reason is known"
    return Verdict(
        COVERAGE,
        False,
        f"Only {searchable} of {rows} new rows of batch {batch.key} are searchable ({share:.0%}, expected at least "
        f"{least:.0%}): {worst}. `vetrina retry` asks again for pictures that failed; rejected rows are to be put "
        "right in the catalog",
        facts,
    )


def judge_vectors(store: Store, batch: Batch, embeddings: str) -> Verdict:
    """Whether every vector of the batch is finite and of length 1."""
    faults: Counter[str] = Counter()
    examples: list[str] = []
    count = 0
    for table in _vectors(store, embeddings_path(batch, embeddings)):
        column: Any = table["vector"].chunk(0)
        vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        finite = np.isfinite(norms)
        kinds = {
            "not finite": ~finite,
            "zero": finite & (norms <= 1e-9),
            "not of length 1": finite & (norms > 1e-9) & (np.abs(norms - 1) > _NORM_TOLERANCE),
        }
        count += len(table)
        for fault, wrong in kinds.items():
            faults[fault] += int(wrong.sum())
            for row in np.flatnonzero(wrong)[: _EXAMPLES - len(examples)]:
                examples.append(f"{table['product_id'][int(row)].as_py()} ({fault})")
    faults = +faults
    facts = {"vectors": count, "faults": dict(faults), "examples": examples}
    if not faults:
        return Verdict(VECTORS, True, f"{count} vectors are finite and of length 1", facts)
    found = ", ".join(f"{number} {fault}" for fault, number in faults.items())
    return Verdict(
        VECTORS,
        False,
        f"Of {count} vectors of batch {batch.key}, {found}; products: {', '.join(examples)}. Delete "
        f"{embeddings_path(batch, embeddings)} and the memos below vectors/, and materialize `embeddings` again",
        facts,
    )


def judge_fingerprints(store: Store, batch: Batch, fingerprints: dict[str, str]) -> Verdict:
    """Whether the batch's vectors come from the models in use and no others.

    Args:
        fingerprints: role → fingerprint; "embeddings", "labels" and "extractor" are compared.
    """
    path = embeddings_path(batch, fingerprints["embeddings"])
    notes = read_metadata(store, path)
    if notes is None:
        return Verdict(FINGERPRINTS, False, f"{path} is missing or damaged; materialize `embeddings` again")
    wrong = {role: notes.get(role) for role in ("labels", "extractor") if notes.get(role) != fingerprints[role]}
    facts = {role: fingerprints[role] for role in ("embeddings", "labels", "extractor")}
    if not wrong:
        return Verdict(FINGERPRINTS, True, f"All vectors are by extractor {fingerprints['extractor']}", facts)
    found = ", ".join(f"{role} {value} where {fingerprints[role]} is in use" for role, value in wrong.items())
    return Verdict(FINGERPRINTS, False, f"{path} was made with {found}; delete it and materialize it again", facts)


def _products(store: Store, path: str) -> int:
    """Products with a vector; each has one whole picture."""
    try:
        with store.open(path) as handle:
            kinds = pq.read_table(handle, columns=["kind"])["kind"]
    except FileNotFoundError:
        return 0
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(f"{path} cannot be read; materialize the batch again ({error})") from error
    return len(kinds.filter(pc.equal(kinds, pa.scalar("whole"))))


def _vectors(store: Store, path: str) -> Iterator[pa.Table]:
    try:
        with store.open(path) as handle:
            for rows in pq.ParquetFile(handle).iter_batches(batch_size=1024, columns=["product_id", "vector"]):
                yield pa.Table.from_batches([rows])
    except (FileNotFoundError, pa.ArrowInvalid, OSError) as error:
        raise StoreError(f"{path} cannot be read; materialize the batch again ({error})") from error
