"""Building an index folder from a stream of items: two passes, memory that does not grow with the vectors."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vetrina.errors import StoreError
from vetrina.index.cell_tuning import FEW, tune_cells
from vetrina.index.cells import build_cells
from vetrina.index.dimensions import CANDIDATES, FEWEST_PER_DIM, candidates, choose_dims
from vetrina.index.familiarity import calibrated, sample_of_products
from vetrina.index.manifest import ANNOY, CELLS, ITEMS, MANIFEST, PROJECTION, VECTORS, FileCheck, Manifest
from vetrina.index.projection import Moments, Projection, to_index_space, unit_rows
from vetrina.index.recall import NO_LABEL
from vetrina.index.rows import read_blocks, row_order
from vetrina.index.sampling import Sample
from vetrina.index.settings import AUTO, IndexSettings
from vetrina.index.tuning import tune
from vetrina.store import sha256_of

Items = Callable[[], Iterator[pa.Table]]
_CONSTANT = "the vectors do not vary"


def build_index(
    items: Items,
    folder: Path,
    settings: IndexSettings,
    *,
    fingerprints: dict[str, str],
    sources: dict[str, str],
    extractor: str = "",
    device: str = "cpu",
) -> Manifest:
    """Write an index folder; the manifest comes last, so a folder without one is an interrupted build.

    The same items give the same files, byte for byte, in whatever order they arrive (the manifest differs: it has
    times in it).

    Args:
        items: gives the stream of item tables (META_SCHEMA plus `vector`, fixed_size_list<float>[D]) anew at each
            call; called two or three times, must give the same items each time.
        folder: where to; made when missing, must not hold an index.
        fingerprints: role → fingerprint of the models the items come from.
        sources: batch → digest.
        extractor: the handle of the extractor.
        device: where the arithmetic is done; the files are the same.

    Raises:
        StoreError: no items, an item that cannot be used (names the product), items that change between the
            passes, or a folder that holds an index already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).exists():
        raise StoreError(f"{folder} already holds an index; an index is never changed, build in a new folder")
    products, asking = sample_of_products(), Sample(settings.recall_sample)
    meta, hashes, raw_dims, moments = _survey(items, settings, device, [products, asking])
    order = row_order(meta, hashes)
    if settings.projection_dims == AUTO:
        projection, note, choice = _chosen_projection(items, moments, raw_dims, asking.vectors, settings)
    else:
        projection, note = _projection(moments, raw_dims, settings.projection_dims)
        choice = {}
    dims = raw_dims if projection is None else projection.components.shape[1]
    if projection is not None:
        projection.save(folder / PROJECTION)
    else:
        (folder / PROJECTION).unlink(missing_ok=True)
    meta = meta.take(pa.array(order)).combine_chunks()
    pq.write_table(meta, folder / ITEMS, compression="zstd", row_group_size=1 << 17)
    vectors = _write_vectors(items, folder / VECTORS, hashes, order, (raw_dims, dims), projection)
    codes = meta["label"].combine_chunks().dictionary_encode()
    labels = codes.indices.fill_null(NO_LABEL).to_numpy(zero_copy_only=False)
    tuned = tune(vectors, labels, folder / ANNOY, settings, device)
    names = {NO_LABEL: None, **dict(enumerate(codes.dictionary.to_pylist()))}
    cells = _with_cells(vectors, labels, names, folder / CELLS, settings, device)
    recall = tuned.as_json()
    recall["by_label"] = [{**entry, "label": names[entry["label"]]} for entry in recall["by_label"]]
    recall["exact_classes"] = [names[code] for code in recall["exact_classes"]]
    del vectors
    files = {
        name: FileCheck(sha256_of(folder / name), (folder / name).stat().st_size)
        for name in (VECTORS, ITEMS, PROJECTION, ANNOY, CELLS)
        if (folder / name).exists()
    }
    manifest = Manifest(
        products=len(meta["product_id"].unique()),
        items=len(meta),
        raw_dims=raw_dims,
        dims=dims,
        projection=None if projection is None else {"dims": dims, "variance_kept": projection.variance_kept},
        projection_note=note,
        annoy={
            "trees": tuned.chosen.trees,
            "search_k": tuned.chosen.search_k,
            "outside_search_k": None if tuned.outside is None else tuned.outside.search_k,
            "seed": settings.seed,
            "n_jobs": 1,
            "metric": "angular",
        },
        recall=recall,
        serve_with=tuned.serve_with,
        serve_reason=tuned.reason,
        settings=asdict(settings),
        fingerprints=dict(fingerprints),
        sources=dict(sources),
        libraries={
            "python": platform.python_version(),
            **{name: version(name) for name in ("annoy", "numpy", "pyarrow")},
        },
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        extractor=extractor,
        nothing_similar=calibrated(products.vectors, projection),
        dims_choice=choice,
        cells=cells,
        files=files,
    )
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return manifest


def _with_cells(
    vectors: np.ndarray,
    labels: np.ndarray,
    names: dict[int, str | None],
    file: Path,
    settings: IndexSettings,
    device: str,
) -> dict[str, Any]:
    """Write the cells; returns what the manifest says of them: nothing, and no file, of items that are few."""
    if len(vectors) <= FEW:
        file.unlink(missing_ok=True)
        return {}
    cells = build_cells(vectors, settings.seed)
    cells.save(file)
    tuned = tune_cells(vectors, labels, cells, settings, device)
    filters = [{**entry, "label": names.get(entry["label"], entry["label"])} for entry in tuned.filters]
    return {"count": len(cells.centres), "share": tuned.share, "filters": filters}


def _survey(
    items: Items, settings: IndexSettings, device: str, samples: list[Sample]
) -> tuple[pa.Table, np.ndarray, int, Moments | None]:
    """First pass: the columns of all items, the hashes and dimension of their vectors, and their moments.

    Some of the vectors go into the samples.
    """
    fewest = CANDIDATES[0] if settings.projection_dims == AUTO else settings.projection_dims
    metas, hashes = [], []
    moments: Moments | None = None
    dims = 0
    for block in read_blocks(items()):
        dims = block.vectors.shape[1]
        if fewest is not None and dims > fewest:
            moments = moments or Moments(dims, device)
            moments.add(unit_rows(block.vectors))
        for sample in samples:
            sample.add(block)
        metas.append(block.meta)
        hashes.append(block.hashes)
    if not metas:
        raise StoreError("There is nothing to index: no product has a vector yet")
    return pa.concat_tables(metas), np.concatenate(hashes), dims, moments


def _projection(moments: Moments | None, raw_dims: int, wanted: int | None) -> tuple[Projection | None, str]:
    """The projection to so many dimensions, or `None` and the reason why there is none."""
    if wanted is None:
        return None, "switched off"
    if moments is None:
        return None, f"the vectors have {raw_dims} dimensions, not more than {wanted}"
    if moments.count < FEWEST_PER_DIM * wanted:
        return None, f"{moments.count} items are too few to estimate {wanted} dimensions"
    projection = moments.projection(wanted)
    return projection, "" if projection is not None else _CONSTANT


def _chosen_projection(
    items: Items, moments: Moments | None, raw_dims: int, asking: np.ndarray, settings: IndexSettings
) -> tuple[Projection | None, str, dict[str, Any]]:
    """The projection to as many dimensions as it takes, or `None` and why there is none; and how they were chosen."""
    if moments is None:
        return None, f"the vectors have {raw_dims} dimensions, not more than {CANDIDATES[0]}", {}
    sizes = candidates(moments.count, raw_dims)
    if not sizes:
        return None, f"{moments.count} items are too few to estimate {CANDIDATES[0]} dimensions", {}
    projections = moments.projections(sizes)
    if not projections:
        return None, _CONSTANT, {}
    blocks = (block.vectors for block in read_blocks(items(), raw_dims))
    choice = choose_dims(blocks, asking, projections, moments.count, settings.recall_k)
    note = "" if choice.met else f"no number of dimensions that {moments.count} items can estimate agrees enough"
    return choice.projection, note, choice.as_json()


def _write_vectors(
    items: Items,
    file: Path,
    hashes: np.ndarray,
    order: np.ndarray,
    dims: tuple[int, int],
    projection: Projection | None,
) -> np.ndarray:
    """Second pass: every vector in index space to its row of a .npy file; returns it mapped, float32 [n, d]."""
    raw_dims, width = dims
    row_of = np.empty(len(order), np.int64)
    row_of[order] = np.arange(len(order))
    out = np.lib.format.open_memmap(file, "w+", np.float32, (len(order), width))
    with file.open("r+b") as handle:
        # A full disk is an error here, and a killed process once the pages are written.
        os.posix_fallocate(handle.fileno(), 0, file.stat().st_size)
    done = 0
    for block in read_blocks(items(), raw_dims):
        end = done + len(block.hashes)
        if not np.array_equal(hashes[done:end], block.hashes):
            done = -1
            break
        out[row_of[done:end]] = to_index_space(block.vectors, projection)
        done = end
    if done != len(order):
        raise StoreError("The items changed while they were indexed; run the build again")
    out.flush()
    del out
    # A plain view: np.memmap makes every index operation a slow Python call.
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
