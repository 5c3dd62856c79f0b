"""Made-up shops for the tests of the index and the search: clustered unit vectors, like those of real pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from vetrina.index.build import build_index
from vetrina.index.manifest import Manifest
from vetrina.index.reader import Index, open_folder
from vetrina.index.rows import META_SCHEMA
from vetrina.index.settings import IndexSettings

LABELS = ("Dress", "Footwear", "Chair", "Luggage and bags")
ODD_IDS = ("a_b", "a.b", "a/b", 'say "x"', "👗", "حذاء", "two\nlines", "a", " ", "A_b/..", "%2e", "crème", "crème")
PLAIN = IndexSettings(projection_dims=None)

Item = tuple[str, str, str, str | None, float | None, np.ndarray]  # id, crop id, kind, label, score, vector


def table(items: list[Item], batch: str = "b1", dims: int | None = None) -> pa.Table:
    """An items table of unit rows."""
    width = len(items[0][5]) if dims is None else dims
    vectors = np.array([item[5] for item in items], np.float32).reshape(-1, width)
    columns = {
        "product_id": [item[0] for item in items],
        "crop_id": [item[1] for item in items],
        "sha256": ["ab" * 32] * len(items),
        "kind": [item[2] for item in items],
        "label": [item[3] for item in items],
        "score": [item[4] for item in items],
        "ymin": [0.0] * len(items),
        "xmin": [0.25] * len(items),
        "ymax": [1.0] * len(items),
        "xmax": [0.75] * len(items),
        "batch": [batch] * len(items),
    }

    meta = pa.table(columns, schema=META_SCHEMA)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
    return meta.append_column("vector", flat)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def shop(
    products: int, dims: int, *, seed: int = 0, clusters: int = 20, crops: int = 2, spread: float = 0.8
) -> list[Item]:
    """Items of products around cluster centres; each has a whole picture and up to `crops` crops like it."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dims))
    items: list[Item] = []
    for number in range(products):
        cluster = int(rng.integers(clusters))
        own = centres[cluster] + spread * rng.standard_normal(dims)
        name = f"p{number:05d}"
        items.append((name, f"{name}-w", "whole", None, None, unit(own)))
        for crop in range(int(rng.integers(crops + 1))):
            vector = unit(own + 0.3 * rng.standard_normal(dims))
            label = LABELS[(cluster + crop) % len(LABELS)]
            items.append((name, f"{name}-{crop}", "crop", label, float(rng.random(dtype=np.float32)), vector))
    return items


def built(
    items: list[Item] | pa.Table | list[pa.Table],
    folder: Path,
    settings: IndexSettings = PLAIN,
    *,
    fingerprint: str = "f1",
) -> Manifest:
    """An index folder of the items."""
    if isinstance(items, pa.Table):
        tables = [items]
    elif isinstance(items[0], pa.Table):
        tables = items
    else:
        tables = [table(items)]
    return build_index(
        lambda: iter(tables), folder, settings, fingerprints={"extractor": fingerprint}, sources={"b1": "d1"}
    )


def opened(items: list[Item] | pa.Table, folder: Path, settings: IndexSettings = PLAIN) -> Index:
    """The opened index of the items."""
    built(items, folder, settings)
    return open_folder(folder)
