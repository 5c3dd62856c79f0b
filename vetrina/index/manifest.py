"""The manifest: what an index folder holds, from what it was made, and how good it was measured to be."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from vetrina.errors import IndexDamaged

FORMAT = 1
MANIFEST = "manifest.json"
VECTORS = "vectors.npy"
ITEMS = "items.parquet"
PROJECTION = "projection.npz"
ANNOY = "index.ann"
CELLS = "cells.npz"


@dataclass(frozen=True, slots=True)
class FileCheck:
    """Hex sha256 and size in bytes of one file."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One index version.

    Attributes:
        products, items: counts.
        raw_dims, dims: dimensions of the extractor's vectors and of the index space.
        projection: {"dims", "variance_kept"} or `None`; `projection_note` says why there is none.
        dims_choice: how their number was chosen; see `vetrina.index.dimensions.Choice.as_json`. Empty where it was set.
        annoy: {"trees", "search_k", "outside_search_k", "seed", "n_jobs", "metric"}; `None` for the third means exact
            search, and an index of before it was measured lacks it.
        recall: measured; see `vetrina.index.tuning.Tuned.as_json`.
        serve_with: "annoy" or "exact", `serve_reason` says why.
        cells: {"count", "share", "filters"} of the cells that filtered searches read, see
            `vetrina.index.cell_tuning.CellsTuned`. Empty in an index of before, and of too few items to need them.
        settings: the settings of the build.
        fingerprints: role → fingerprint of the model (extractor, detector, …).
        extractor: the handle of the extractor, by which photos are embedded as the items were; empty in an index of
            before handles were noted.
        nothing_similar: the floor of likeness; see `vetrina.index.familiarity.calibrated`. Empty in an index of before.
        sources: batch → digest of what it contributed.
        libraries: name → version.
        files: name → check.
        created_at: ISO 8601, UTC.
    """

    products: int
    items: int
    raw_dims: int
    dims: int
    projection: dict[str, Any] | None
    projection_note: str
    annoy: dict[str, Any]
    recall: dict[str, Any]
    serve_with: str
    serve_reason: str
    settings: dict[str, Any]
    fingerprints: dict[str, str]
    sources: dict[str, str]
    libraries: dict[str, str]
    created_at: str
    extractor: str = ""
    nothing_similar: dict[str, Any] = field(default_factory=dict)
    dims_choice: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, Any] = field(default_factory=dict)
    files: dict[str, FileCheck] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def exact_classes(self) -> list[str]:
        """Labels whose products are searched exactly, since Annoy finds too few of their neighbours."""
        return list(self.recall.get("exact_classes", ()))

    def to_bytes(self) -> bytes:
        """As JSON; the same bytes for the same manifest."""
        return (json.dumps(asdict(self), ensure_ascii=True, indent=1, sort_keys=True) + "\n").encode()

    @staticmethod
    def from_bytes(data: bytes) -> Manifest:
        """Parse. Raises IndexDamaged when it is no manifest of this format."""
        try:
            value = json.loads(data)
        except ValueError as error:
            raise IndexDamaged(f"The index manifest is not valid JSON: {error}") from error
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, dict) else None
            raise IndexDamaged(f"The index manifest has format {found!r}; this version reads {FORMAT}")
        try:
            value["files"] = {name: FileCheck(**check) for name, check in value["files"].items()}
            value.setdefault("extractor", "")
            value.setdefault("nothing_similar", {})
            value.setdefault("dims_choice", {})
            value.setdefault("cells", {})
            return Manifest(**{entry.name: value[entry.name] for entry in fields(Manifest)})
        except (KeyError, TypeError, AttributeError) as error:
            raise IndexDamaged(f"The index manifest is incomplete: {error}") from error


def version_of(manifest: Manifest) -> str:
    """The name of a version: 16 hex digits that depend on its content alone.

    Files, fingerprints, settings and sources count; clocks, timings, handles and the machine do not.
    """
    content = {
        "format": manifest.format,
        "files": {name: check.sha256 for name, check in manifest.files.items()},
        "fingerprints": manifest.fingerprints,
        "settings": manifest.settings,
        "sources": manifest.sources,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
