"""The evaluation reports that the asset `evaluation` keeps in the store."""

from __future__ import annotations

import re
from typing import Any

from vetrina.errors import NotFound, StoreError, StoreUnavailable
from vetrina.store import FileInfo, Store

_FOLDER = "reports"
_VERSION = re.compile(r"[0-9a-f]{16}")
_NAME = re.compile(r"evaluation-[0-9a-f]{16}")


def reports_as_json(store: Store, start: int, count: int) -> dict[str, Any]:
    """Some of the reports, newest first, each with its measures over queries."""
    found = sorted(_reports(store), key=lambda info: info.modified, reverse=True)
    return {"reports": [_summary(store, info) for info in found[start : start + count]], "total": len(found)}


def report_values(store: Store, version: str, name: str) -> dict[str, Any]:
    """All figures of a report. Raises NotFound."""
    try:
        values: dict[str, Any] = store.read_json(f"{_path(version, name)}.json")
    except FileNotFoundError as error:
        raise _no_report(version, name) from error
    return values


def report_page(store: Store, version: str, name: str) -> bytes:
    """A report's HTML. Raises NotFound."""
    try:
        return store.read(f"{_path(version, name)}.html")
    except FileNotFoundError as error:
        raise _no_report(version, name) from error


def _reports(store: Store) -> list[FileInfo]:
    versions = [name for name in store.names(_FOLDER) if _VERSION.fullmatch(name)]
    files = [info for version in versions for info in store.walk(f"{_FOLDER}/{version}")]
    return [info for info in files if _NAME.fullmatch(_name_of(info)) and info.path.endswith(".html")]


def _summary(store: Store, info: FileInfo) -> dict[str, Any]:
    version, name = info.path.split("/")[1], _name_of(info)
    summary: dict[str, Any] = {
        "version": version,
        "name": name,
        "made_at": info.modified.isoformat(timespec="seconds"),
        "bytes": info.bytes,
        "label": None,
        "queries": None,
        "measures": {},
        "problem": None,
    }
    try:
        values = report_values(store, version, name)
        summary["label"] = values["label"]
        summary["queries"] = values["counts"]["queries"]
        summary["measures"] = {measure: values[measure] for measure in values["macro"]}
    except StoreUnavailable:
        raise
    except (NotFound, StoreError, KeyError, TypeError):
        summary["problem"] = "Its figures cannot be read; materialize the asset evaluation again"
    return summary


def _name_of(info: FileInfo) -> str:
    return info.path.rpartition("/")[2].removesuffix(".html")


def _path(version: str, name: str) -> str:
    if not _VERSION.fullmatch(version) or not _NAME.fullmatch(name):
        raise _no_report(version, name)
    return f"{_FOLDER}/{version}/{name}"


def _no_report(version: str, name: str) -> NotFound:
    return NotFound(f"There is no evaluation report {name!r} of index version {version!r}")
