"""An opened index: verified first, then mapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vetrina.errors import IndexDamaged
from vetrina.index.annoy_file import AnnoyFile
from vetrina.index.cells import Cells
from vetrina.index.manifest import (
    ANNOY,
    CELLS,
    ITEMS,
    MANIFEST,
    PROJECTION,
    VECTORS,
    FileCheck,
    Manifest,
    version_of,
)
from vetrina.index.projection import Projection
from vetrina.index.rows import META_SCHEMA, Rows
from vetrina.store import sha256_of


@dataclass(frozen=True, slots=True)
class Index:
    """A verified, mapped index version.

    Attributes:
        rows: items, vectors and products, in index space.
        annoy: the opened Annoy file.
        projection: from extractor space to index space; `None` when they are the same.
        cells: the items by neighbourhood; `None` where there are too few to need it, or in an index of before.
    """

    version: str
    manifest: Manifest
    rows: Rows
    annoy: AnnoyFile
    projection: Projection | None
    cells: Cells | None = None


def check_file(file: Path, check: FileCheck) -> None:
    """Compare a local file with the manifest. Raises IndexDamaged saying what is wrong with which file."""
    try:
        size = file.stat().st_size
        if size != check.bytes:
            raise IndexDamaged(f"The index file {file} has {size} bytes where {check.bytes} were published")
        if sha256_of(file) != check.sha256:
            raise IndexDamaged(f"The index file {file} is altered: its checksum is not the published one")
    except OSError as error:
        raise IndexDamaged(f"The index file {file} cannot be read: {error.strerror or error}") from error


def open_folder(folder: Path) -> Index:
    """Open a built folder. Raises IndexDamaged when a file is missing, altered or contradicts the others."""
    try:
        manifest = Manifest.from_bytes((folder / MANIFEST).read_bytes())
    except OSError as error:
        raise IndexDamaged(f"There is no index manifest in {folder}: {error.strerror}") from error

    def locate(name: str, check: FileCheck) -> Path:
        check_file(folder / name, check)
        return folder / name

    return open_files(manifest, locate)


def open_files(manifest: Manifest, locate: Callable[[str, FileCheck], Path]) -> Index:
    """Open the files of a manifest.

    Args:
        locate: gives a local file for a name, verified; raises IndexDamaged otherwise.

    Raises:
        IndexDamaged: a file is missing, altered or contradicts the manifest.
    """
    needed = {VECTORS, ITEMS, ANNOY}
    needed |= {name for name, used in ((PROJECTION, manifest.projection), (CELLS, manifest.cells)) if used}
    if missing := sorted(needed - set(manifest.files)):
        raise IndexDamaged(f"The index manifest does not list {missing[0]}")
    # Every file is verified before the first one is mapped.
    paths = {name: locate(name, manifest.files[name]) for name in sorted(needed)}
    try:
        vectors = np.load(paths[VECTORS], mmap_mode="r", allow_pickle=False)
        table = pq.read_table(paths[ITEMS]).select(META_SCHEMA.names)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise IndexDamaged(f"The index cannot be read: {error}") from error
    shape = (manifest.items, manifest.dims)
    if vectors.shape != shape or vectors.dtype != np.float32 or len(table) != manifest.items:
        raise IndexDamaged(
            f"The index holds {len(table)} items and vectors {vectors.shape} where the manifest says {shape}"
        )
    projection = Projection.load(paths[PROJECTION]) if manifest.projection else None
    if projection is not None and projection.components.shape != (manifest.raw_dims, manifest.dims):
        raise IndexDamaged("The projection of the index has other dimensions than the manifest says")
    rows = Rows(vectors, table)
    if rows.products != manifest.products:
        raise IndexDamaged(f"The index holds {rows.products} products; its manifest says {manifest.products}")
    cells = Cells.load(paths[CELLS], manifest.items, manifest.dims) if manifest.cells else None
    return Index(version_of(manifest), manifest, rows, AnnoyFile(paths[ANNOY], vectors), projection, cells)
