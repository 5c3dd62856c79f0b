"""The index versions that were published, as plain values."""

from __future__ import annotations

from typing import Any

from vetrina.errors import IndexDamaged, NotFound, StoreUnavailable
from vetrina.index.manifest import Manifest
from vetrina.index.versions import Published, current, history, verify_sizes
from vetrina.store import Store


def versions_as_json(store: Store, start: int, count: int) -> dict[str, Any]:
    """Some of the records of published versions, newest first; which is current, and what is damaged.

    An older version is `usable` when its files are there in their sizes; their checksums are compared when it is to
    be served again.
    """
    damaged: list[str] = []
    now = current(store, damaged)
    records = history(store)
    return {
        "current": None if now is None else _record(store, now, now),
        "versions": [_record(store, record, now) for record in records[start : start + count]],
        "total": len(records),
        "damaged": damaged,
    }


def version_as_json(store: Store, version: str) -> dict[str, Any]:
    """The newest record of a version, beside the current one. Raises NotFound."""
    now = current(store)
    record = next((record for record in history(store) if record.version == version), None)
    if record is None:
        raise NotFound(f"There is no published index version {version!r}")
    return {
        "version": _record(store, record, now),
        "current": None if now is None else _record(store, now, now),
    }


def _record(store: Store, record: Published, now: Published | None) -> dict[str, Any]:
    manifest, problem = _manifest(store, record)
    return {
        "number": record.number,
        "version": record.version,
        "published_at": record.published_at,
        "note": record.note,
        "restores": record.restores,
        "current": now is not None and record.number == now.number,
        "usable": manifest is not None,
        "problem": problem,
        "can_be_restored": manifest is not None and now is not None and record.version != now.version,
        "index": None if manifest is None else manifest_as_json(manifest),
    }


def _manifest(store: Store, record: Published) -> tuple[Manifest | None, str | None]:
    """The manifest of a version that is whole by its sizes, or else what is wrong with it."""
    try:
        return verify_sizes(store, record), None
    except StoreUnavailable:
        raise
    except IndexDamaged as error:
        return None, str(error)


def manifest_as_json(manifest: Manifest) -> dict[str, Any]:
    """What people want to know of a version."""
    recall = manifest.recall
    return {
        "products": manifest.products,
        "items": manifest.items,
        "dims": manifest.dims,
        "created_at": manifest.created_at,
        "serve_with": manifest.serve_with,
        "serve_reason": manifest.serve_reason,
        "extractor": manifest.extractor or None,
        "fingerprints": manifest.fingerprints,
        "recall": recall["recall"],
        "recall_lower_95": recall["lower_95"],
        "recall_target": recall["target"],
        "recall_k": recall["k"],
        "recall_met": recall["met"],
        "queries": recall["queries"],
        "exact_classes": manifest.exact_classes,
        "classes": [
            {
                "class": entry["label"],
                "recall": entry["recall"],
                "lower_95": entry.get("lower_95"),
                "queries": entry["queries"],
            }
            for entry in recall["by_label"]
        ],
    }
