"""What must stay: which models, index versions and pictures the shop still needs.

A picture is needed when a batch answers for a product with it: the newest batch that brought the product, and, while
an index of other models serves, the newest that those models embedded. Sets of digests are kept in memory, about
100 bytes for each picture, crop and address.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from vetrina.catalog.batches import Batch, list_batches
from vetrina.catalog.shop import read_report, shop_after
from vetrina.detection.labelling import labels_path
from vetrina.embedding.trials import Trial
from vetrina.embedding.vectors import embeddings_path
from vetrina.errors import NotFound, StoreError
from vetrina.index.manifest import MANIFEST, Manifest
from vetrina.index.publishing import CURRENT_TABLE
from vetrina.index.settings import TableSettings
from vetrina.index.versions import Published, current, history, rollback_target, version_folder
from vetrina.index.wanted import table_folder
from vetrina.store import Store
from vetrina.tables import CATALOG, IMAGES, LABELS, read_rows, read_tables

_ALL = 1 << 62


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """The models and settings of the shop now: what a run would make.

    Attributes:
        detector, labels, extractor, embeddings: fingerprints, as an index manifest names them.
        table: settings of the table of similar products.
    """

    detector: str
    labels: str
    extractor: str
    embeddings: str
    table: TableSettings


@dataclass(frozen=True, slots=True)
class Pictures:
    """Digests of what products are shown by: pictures (sha256), crops (crop id), addresses (sha256 of the text)."""

    pictures: frozenset[bytes]
    crops: frozenset[bytes]
    addresses: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Needed:
    """What must stay of what runs made.

    Attributes:
        detectors, labels, extractors, embeddings: fingerprints in use by the shop or by an index version that stays.
        batches: keys of the batches that this was worked out from.
        pictures: None when it cannot be said yet; `waiting` then says why.
    """

    detectors: frozenset[str]
    labels: frozenset[str]
    extractors: frozenset[str]
    embeddings: frozenset[str]
    batches: frozenset[str]
    pictures: Pictures | None
    waiting: tuple[str, ...]


def find_needed(store: Store, now: Fingerprints, versions: Collection[str], trials: Collection[Trial]) -> Needed:
    """Work out what must stay for the shop as it is, for some index versions, and for models on trial."""
    batches = list_batches(store)
    roles = {
        "detector": {now.detector},
        "labels": {now.labels},
        "extractor": {now.extractor},
        "embeddings": {now.embeddings},
    }
    for version in versions:
        for role, fingerprint in _made_with(store, version).items():
            roles.setdefault(role, set()).add(fingerprint)
    for trial in trials:
        for role, fingerprint in trial.fingerprints.items():
            roles.setdefault(role, set()).add(fingerprint)
    waiting = _waiting(store, batches, now)
    return Needed(
        detectors=frozenset(roles["detector"]),
        labels=frozenset(roles["labels"]),
        extractors=frozenset(roles["extractor"]),
        embeddings=frozenset(roles["embeddings"]),
        batches=frozenset(batch.key for batch in batches),
        pictures=None if waiting else _pictures(store, batches, roles["embeddings"], roles["labels"]),
        waiting=waiting,
    )


def needed_versions(store: Store, keep: int, newer_than: datetime) -> frozenset[str] | None:
    """The index versions that stay; None when no version can be used, which a person has to look into first.

    Args:
        keep: how many of the newest stay besides what a rollback needs.
        newer_than: those published since (UTC) stay as well.
    """
    served = current(store)
    if served is None:
        return None
    records = history(store)
    kept = {served.version, *list(dict.fromkeys(record.version for record in records))[:keep]}
    kept |= {record.version for record in records if _published(record) >= newer_than}
    if served.restores is not None:
        # What was rolled back from tells a rebuild what not to publish again.
        kept |= {record.version for record in records if served.restores <= record.number <= served.number}
    with contextlib.suppress(NotFound):
        kept.add(rollback_target(store, served).version)
    return frozenset(kept)


def needed_tables(store: Store, versions: Collection[str], now: Fingerprints) -> frozenset[str]:
    """The folders of similar products that stay: those of the versions that do, and the one that is named current."""
    kept = {table_folder(version, now.table) for version in versions}
    with contextlib.suppress(FileNotFoundError, StoreError, KeyError, TypeError):
        kept.add(str(store.read_json(CURRENT_TABLE)["folder"]))
    return frozenset(kept)


def _published(record: Published) -> datetime:
    return datetime.fromisoformat(record.published_at)


def _made_with(store: Store, version: str) -> dict[str, str]:
    """The models that a version was made with, by role; none when its manifest cannot be read."""
    try:
        return Manifest.from_bytes(store.read(f"{version_folder(version)}/{MANIFEST}")).fingerprints
    except (FileNotFoundError, StoreError):
        return {}


def _waiting(store: Store, batches: list[Batch], now: Fingerprints) -> tuple[str, ...]:
    """Batches whose work is not done: what they will need is not known before."""
    holders: set[int] | None = None
    waiting = []
    for batch in batches:
        report = read_report(store, batch)
        if report is None:
            waiting.append(f"batch {batch.key} was not worked yet")
            continue
        if report.error is not None:
            continue
        if holders is None:
            holders = {holding.sequence for holding in shop_after(store, _ALL).values()}
        made = (
            batch.path("images.parquet"),
            labels_path(batch, now.labels),
            embeddings_path(batch, now.embeddings),
        )
        if batch.sequence in holders and not all(store.exists(path) for path in made):
            waiting.append(f"batch {batch.key} lacks pictures, labels or embeddings of the models in use")
    return tuple(waiting)


def _pictures(store: Store, batches: list[Batch], embeddings: set[str], labels: set[str]) -> Pictures:
    owners = [{product_id: held.sequence for product_id, held in shop_after(store, _ALL).items()}]
    for fingerprint in sorted(embeddings):
        served = _owners(store, batches, fingerprint)
        if served not in owners:
            owners.append(served)
    pictures: set[bytes] = set()
    crops: set[bytes] = set()
    addresses: set[bytes] = set()
    for batch in batches:

        def answers(product_id: str, batch: Batch = batch) -> bool:
            return any(owner.get(product_id) == batch.sequence for owner in owners)

        for row in _rows(store, batch.path("images.parquet"), IMAGES, ["product_id", "picture", "sha256"]):
            if answers(row["product_id"]):
                addresses.add(hashlib.sha256(str(row["picture"]).encode()).digest())
                if row["sha256"] is not None:
                    pictures.add(bytes.fromhex(str(row["sha256"])))
        for fingerprint in sorted(labels):
            path = labels_path(batch, fingerprint)
            for row in _rows(store, path, LABELS, ["product_id", "crop_id", "kind"]):
                if row["kind"] == "crop" and answers(row["product_id"]):
                    crops.add(bytes.fromhex(str(row["crop_id"])))
    return Pictures(frozenset(pictures), frozenset(crops), frozenset(addresses))


def _owners(store: Store, batches: list[Batch], fingerprint: str) -> dict[str, int]:
    """Product → sequence of the newest batch that has embeddings of one fingerprint: what an index of it shows."""
    owners: dict[str, int] = {}
    for batch in batches:
        report = read_report(store, batch)
        if report is None or report.error is not None:
            continue
        embedded = store.exists(embeddings_path(batch, fingerprint))
        for table in read_tables(store, batch.path("catalog.parquet"), CATALOG, ["product_id", "removed"]):
            names = (table.column(name).to_pylist() for name in ("product_id", "removed"))
            for product_id, removed in zip(*names, strict=True):
                if removed:
                    owners.pop(product_id, None)
                elif embedded:
                    owners[product_id] = batch.sequence
    return owners


def _rows(store: Store, path: str, schema: pa.Schema, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a table that may not be there."""
    try:
        yield from read_rows(store, path, schema, columns)
    except FileNotFoundError:
        return
