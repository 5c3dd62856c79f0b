"""A kind of index as a folder: built whole or not at all, every file verified before the first one is mapped.

``kind.json`` says what the folder holds: format, kind, metric, counts, parameters, libraries, and size and checksum of
each file. Its own checksum is the version, so nothing in it can change unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.errors import IndexDamaged, SettingError, StoreError
from vetrina.index.kinds.annoy import AnnoyKind
from vetrina.index.kinds.exact import ExactKind
from vetrina.index.kinds.graph import GraphKind
from vetrina.index.kinds.interface import COSINE, METRICS, Kind, Parameters, check_rows, complete
from vetrina.index.kinds.lsh import LshKind
from vetrina.index.manifest import VECTORS, FileCheck
from vetrina.index.reader import check_file
from vetrina.store import sha256_of
from vetrina.store.files import flush_to_disk

KINDS: Mapping[str, type[Kind]] = {kind.name: kind for kind in (AnnoyKind, ExactKind, LshKind, GraphKind)}
FORMAT = 1
DESCRIPTION = "kind.json"


def kind_named(name: str) -> type[Kind]:
    """The kind of a name. Raises SettingError when there is none."""
    if name not in KINDS:
        raise SettingError(f"There is no index kind {name!r}; use one of {', '.join(KINDS)}")
    return KINDS[name]


def build_kind(
    name: str, vectors: np.ndarray, folder: Path, parameters: Parameters | None = None, metric: str = COSINE
) -> str:
    """Write an index folder; the same bytes for the same input and libraries. Gives its version, 16 hex digits.

    Args:
        vectors: float32 [n, d], n ≥ 1, finite, unit rows under cosine; may be a memory map.
        folder: where to; must not exist. It appears when it is whole.
        parameters: those that differ from the kind's defaults.
        metric: "cosine" or "euclidean".

    Raises:
        SettingError: a kind, metric or parameter that cannot be used, or a library that is not installed.
        StoreError: vectors that cannot be indexed, a folder that exists, or a disk that refuses.
    """
    kind = kind_named(name)
    wanted = complete(kind, parameters or {})
    check_rows(vectors, metric)
    if folder.exists():
        raise StoreError(f"{folder} exists; an index is never changed, build in a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            np.save(aside / VECTORS, vectors, allow_pickle=False)
            kind.write(vectors, aside, metric, wanted)
            described = _described(kind, aside, vectors.shape, metric, wanted)
            (aside / DESCRIPTION).write_text(json.dumps(described, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            aside.chmod(0o755)  # mkdtemp lets nobody else read
            for file in (*aside.iterdir(), aside):
                flush_to_disk(file)
            aside.rename(folder)
            flush_to_disk(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"The index {folder} cannot be written: {error.strerror or error}") from error
    return str(described["version"])


def open_kind(folder: Path) -> Kind:
    """Open an index folder, memory-mapped.

    Raises:
        IndexDamaged: a file is missing, altered, foreign, or contradicts the others.
        SettingError: a library that it needs is not installed.
    """
    described = _read(folder / DESCRIPTION)
    for name, check in described["files"].items():
        check_file(folder / name, FileCheck(**check))
    try:
        # A plain view: np.memmap makes every index operation a slow Python call.
        vectors = np.asarray(np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise IndexDamaged(f"The vectors in {folder} cannot be read: {error}") from error
    if vectors.shape != (described["items"], described["dims"]) or vectors.dtype != np.float32:
        raise IndexDamaged(f"The vectors in {folder} have shape {vectors.shape}, which {DESCRIPTION} contradicts")
    return KINDS[described["kind"]](folder, vectors, described["metric"], described["parameters"])


def _described(
    kind: type[Kind], folder: Path, shape: tuple[int, ...], metric: str, parameters: Parameters
) -> dict[str, Any]:
    value = {
        "format": FORMAT,
        "kind": kind.name,
        "metric": metric,
        "items": shape[0],
        "dims": shape[1],
        "parameters": dict(parameters),
        "libraries": {name: installed(name) for name in kind.libraries},
        "files": {
            file.name: {"sha256": sha256_of(file), "bytes": file.stat().st_size} for file in sorted(folder.iterdir())
        },
    }
    return {**value, "version": _version(value)}


def _read(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except OSError as error:
        raise IndexDamaged(f"There is no index in {file.parent}: {error.strerror}") from error
    except ValueError as error:
        raise IndexDamaged(f"{file} is not valid JSON: {error}") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else None
        raise IndexDamaged(f"{file} has format {found!r}; this version reads {FORMAT}")
    if value.pop("version", None) != _version(value):
        raise IndexDamaged(f"{file} is altered: its checksum is not its version")
    if value["kind"] not in KINDS or value["metric"] not in METRICS:
        raise IndexDamaged(f"{file} is of the kind {value['kind']!r}, metric {value['metric']!r}, unknown here")
    if any(Path(name).name != name for name in value["files"]):
        raise IndexDamaged(f"{file} names a file outside its folder")
    return value


def _version(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
