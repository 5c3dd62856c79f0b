"""What the store's batches would be published as now, and whether that is published already.

Nothing is built here: two states with the same digest make the same index and the same table.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from vetrina.errors import StoreError
from vetrina.index.manifest import Manifest
from vetrina.index.settings import AUTO, IndexSettings, TableSettings
from vetrina.index.sources import CATALOGUED
from vetrina.index.versions import Published, current, history, read_manifest, verify
from vetrina.store import Store
from vetrina.words import counted


@dataclass(frozen=True, slots=True)
class Wanted:
    """An index and a table that could be made now.

    Attributes:
        sources: batch → what it gives (`index_sources`).
        fingerprints: role → fingerprint of the models in use.
        table: of the table of similar products.
    """

    sources: dict[str, str]
    fingerprints: dict[str, str]
    settings: IndexSettings
    table: TableSettings

    @property
    def empty(self) -> bool:
        """Whether no batch has embeddings."""
        return all(source == CATALOGUED for source in self.sources.values())

    @property
    def digest(self) -> str:
        """A name for it: 16 hexadecimal digits."""
        content = [self.sources, self.fingerprints, asdict(self.settings), asdict(self.table)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def is_made_of(
    manifest: Manifest, sources: dict[str, str], fingerprints: dict[str, str], settings: IndexSettings
) -> bool:
    """Whether an index was made of just these sources, models and settings."""
    return (manifest.sources, manifest.fingerprints, manifest.settings) == (sources, fingerprints, asdict(settings))


def table_folder(version: str, settings: TableSettings) -> str:
    """Where the table of similar products of an index version lies."""
    values = asdict(settings)
    if settings.made_by == AUTO:
        del values["made_by"]  # tables of before there was a choice keep their names
    content = json.dumps([version, values], sort_keys=True)
    name = hashlib.sha256(content.encode()).hexdigest()[:16]
    return f"similar_products/{name}"


def why_not_published(store: Store, wanted: Wanted) -> str | None:
    """Why the index or the table should be made, in words; None when both are there or were rolled back.

    What a person rolled back is not published again until the batches, models or settings change.
    """
    now = current(store)
    if now is None:
        return "there is no index yet"
    manifest = verify(store, now)
    if not is_made_of(manifest, wanted.sources, wanted.fingerprints, wanted.settings):
        return None if _rolled_back(store, now, wanted) else _difference(manifest, wanted)
    folder = table_folder(now.version, wanted.table)
    return None if store.exists(f"{folder}/table.json") else "the table of similar products is missing"


def _rolled_back(store: Store, now: Published, wanted: Wanted) -> bool:
    if now.restores is None:
        return False
    passed_over = (record for record in history(store) if now.restores < record.number < now.number)
    for record in passed_over:
        try:
            manifest = read_manifest(store, record)
        except StoreError:
            continue
        if is_made_of(manifest, wanted.sources, wanted.fingerprints, wanted.settings):
            return True
    return False


def _difference(manifest: Manifest, wanted: Wanted) -> str:
    if manifest.fingerprints != wanted.fingerprints:
        return f"the {_names(manifest.fingerprints, wanted.fingerprints)} changed"
    settings = asdict(wanted.settings)
    if manifest.settings != settings:
        return f"the settings changed: {_names(manifest.settings, settings)}"
    keys = {*manifest.sources, *wanted.sources}
    changed = sum(manifest.sources.get(key) != wanted.sources.get(key) for key in keys)
    return f"{counted(changed, 'batch', 'batches')} changed"


def _names(before: dict[str, Any], after: dict[str, Any]) -> str:
    return ", ".join(sorted(key for key in {*before, *after} if before.get(key) != after.get(key)))
