"""From the batches in the store to a published index and the table of similar products made from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vetrina.errors import NotFound, RecallTooLow, StoreError
from vetrina.index.build import build_index
from vetrina.index.device import choose_device
from vetrina.index.manifest import Manifest
from vetrina.index.reader import Index, open_folder
from vetrina.index.settings import EXACT, IndexSettings, TableSettings
from vetrina.index.sources import IndexItems
from vetrina.index.table import SIMILAR_SCHEMA, Pictures, pictures_of, similar_products, write_similar_json
from vetrina.index.table_parts import drop_parts, in_parts
from vetrina.index.table_search import exact_work, table_search
from vetrina.index.versions import ROLLBACK, Published, current, open_index, publish, verify
from vetrina.index.wanted import is_made_of, table_folder
from vetrina.pictures.collecting import Progress
from vetrina.pictures.prints import prints_of
from vetrina.store import Store

TABLE = "similar_products.parquet"
JSON = "similar_products.json"
CURRENT_TABLE = "similar_products/current.json"
"""Names the folder of the table that the shop should read."""


@dataclass(frozen=True, slots=True)
class IndexReport:
    """The index that is current now; `built` is false when nothing had changed."""

    published: Published
    manifest: Manifest
    built: bool


@dataclass(frozen=True, slots=True)
class TableReport:
    """The table that belongs to an index version; `built` is false when it was there already.

    Attributes:
        products: those that have similar ones.
        short: those that have fewer than k although there are more products: the others all show a picture again.
        made_by, why: "exact" or "index", and for what reason.
        recall: of the lines that the index found; see `vetrina.index.table_search`. Empty in an exact table.
    """

    folder: str
    rows: int
    products: int
    short: int
    built: bool
    made_by: str = EXACT
    why: str = ""
    recall: dict[str, Any] = field(default_factory=dict)


def publish_index(
    store: Store,
    embeddings: str,
    settings: IndexSettings,
    fingerprints: dict[str, str],
    device: str = "cpu",
    *,
    extractor: str = "",
) -> IndexReport:
    """Make the newest embeddings of all batches the current index, unless they are that already.

    Args:
        embeddings: fingerprint of the embeddings to use.
        fingerprints: role → fingerprint of the models they come from.
        device: where the arithmetic is done (`vetrina.index.device.DEVICES`); the index is the same.
        extractor: the handle of the extractor, for the manifest.

    Raises:
        SettingError: the device is not there.
        NotFound: no product has an embedding.
        RecallTooLow: the index would serve below its recall target; the former version stays current.
        IndexDamaged: the built files do not verify.
    """
    with store.exclusive("index"):
        items = IndexItems(store, embeddings)
        now = current(store)
        if now is not None:
            manifest = verify(store, now)
            if is_made_of(manifest, items.sources, fingerprints, settings):
                return IndexReport(now, manifest, built=False)
        with _built(store, items, settings, fingerprints, device, extractor) as (folder, manifest):
            check_recall(manifest)
            return IndexReport(publish(store, folder, manifest), manifest, built=True)


@contextlib.contextmanager
def rehearsed_index(
    store: Store,
    embeddings: str,
    settings: IndexSettings,
    fingerprints: dict[str, str],
    device: str = "cpu",
    *,
    extractor: str = "",
) -> Iterator[Index]:
    """The index that `publish_index` would publish, made and opened aside; it goes with the block.

    What is served is not touched, and the recall is not judged (`check_recall`). Raises as `publish_index`.
    """
    items = IndexItems(store, embeddings)
    with _built(store, items, settings, fingerprints, device, extractor) as (folder, _):
        yield open_folder(folder)


@contextlib.contextmanager
def _built(
    store: Store,
    items: IndexItems,
    settings: IndexSettings,
    fingerprints: dict[str, str],
    device: str,
    extractor: str,
) -> Iterator[tuple[Path, Manifest]]:
    """An index folder among the work in progress."""
    if next((table for table in items() if table.num_rows), None) is None:
        raise NotFound("There is nothing to index: no product has an embedding; see `vetrina status` for why")
    with store.scratch() as scratch:
        folder = scratch / "index"
        yield (
            folder,
            build_index(
                items,
                folder,
                settings,
                fingerprints=fingerprints,
                sources=items.sources,
                extractor=extractor,
                device=device,
            ),
        )


def check_recall(manifest: Manifest) -> None:
    """Raise RecallTooLow for an index that would serve answers below its target; exact search has none to miss."""
    recall = manifest.recall
    if manifest.serve_with == "exact" or recall["met"]:
        return
    raise RecallTooLow(
        f"The new index finds {recall['lower_95']:.3f} of the true {recall['k']} nearest products, under the target "
        f"of {recall['target']} (VETRINA_RECALL_TARGET), so it was not published and the former version goes on "
        f"serving. It has {manifest.annoy['trees']} trees and visits {manifest.annoy['search_k']} nodes: leave "
        "VETRINA_TREES and VETRINA_SEARCH_K at 0 to have them chosen, or set VETRINA_SERVE_WITH to auto or exact",
        recall,
    )


def publish_table(
    store: Store,
    published: Published,
    settings: TableSettings,
    *,
    device: str = "cpu",
    workers: int = 1,
    progress: Progress = lambda done, total: None,
    print_progress: Progress = lambda done, total: None,
) -> TableReport:
    """Write the most similar products of every product of an index version, as Parquet and as JSON.

    The table of one version with the same settings is written once, the same on every device. One that was
    interrupted goes on where it was.

    Args:
        workers: pictures to decode at the same time, where their prints are not known yet, and products to search for.
        progress: told of products done. print_progress: of prints made.
    """
    folder = table_folder(published.version, settings)
    with store.exclusive("similar-products"):
        standing = standing_table(store, published, settings)
        if standing is not None:
            _serve_table(store, published, folder)  # a rollback may have left it at another
            drop_parts(store, folder)  # it may have been killed when the table was there and its parts were, too
            return standing
        index = open_index(store, published)
        pictures = _pictures(store, index, workers, print_progress) if settings.hide_duplicates else None
        lines = partial(
            similar_products,
            index,
            settings.neighbours,
            same_class=settings.same_class,
            min_score=None,
            pictures=pictures,
        )
        how = table_search(index, settings, lambda sample, search: lines(part=sample, search=search), workers)
        multiplier = choose_device(device, exact_work(index)) if how.search is None else None

        def make(part: range) -> Iterator[pa.Table]:
            return lines(part=part, device=multiplier, search=how.search)

        parts = in_parts(store, folder, index.rows.products, make, SIMILAR_SCHEMA, progress)
        expected = min(settings.neighbours, index.rows.products - 1)
        counts = _write_table(store, folder, parts, expected)
        full = counts.pop("full")
        short = index.rows.products - full if expected else 0
        report = TableReport(
            folder, **counts, short=short, built=True, made_by=how.made_by, why=how.why, recall=how.recall
        )
        values = {name: value for name, value in asdict(report).items() if name not in ("folder", "built")}
        store.write_json(f"{folder}/table.json", values)
        drop_parts(store, folder)
        _serve_table(store, published, folder)
    return report


def standing_table(store: Store, published: Published, settings: TableSettings) -> TableReport | None:
    """The table of an index version that is there already; None when it has to be made first."""
    folder = table_folder(published.version, settings)
    try:
        return TableReport(folder, **store.read_json(f"{folder}/table.json"), built=False)
    except FileNotFoundError:
        return None


def _pictures(store: Store, index: Index, workers: int, progress: Progress) -> Pictures:
    shas, of_item = pictures_of(index.rows)
    prints, _ = prints_of(store, shas, workers=workers, progress=progress)
    return Pictures(prints, of_item)


def _write_table(store: Store, folder: str, parts: Iterator[pa.Table], expected: int) -> dict[str, int]:
    """Write both files; gives the rows, the products that have any, and those of them that have all `expected`."""
    rows = full = 0

    def written(writer: pq.ParquetWriter) -> Iterator[pa.Table]:
        nonlocal rows, full
        for table in parts:
            writer.write_table(table)
            rows += table.num_rows
            full += int((table["rank"].to_numpy() == expected).sum())
            yield table

    with (
        store.writing(f"{folder}/{TABLE}") as parquet,
        store.writing(f"{folder}/{JSON}") as listing,
        pq.ParquetWriter(parquet, SIMILAR_SCHEMA, compression="zstd") as writer,
    ):
        products = write_similar_json(written(writer), listing)
        writer.close()
    return {"rows": rows, "products": products, "full": full}


def restore_table(store: Store, published: Published, settings: TableSettings) -> bool:
    """Let the table of an index version that is served again be the shop's; false when it has to be made first.

    Does not wait for a table that is being made.
    """
    return _serve_table(store, published, table_folder(published.version, settings))


def _serve_table(store: Store, published: Published, folder: str) -> bool:
    """Say in `similar_products/current.json` that the table in `folder` is the shop's; false when it is not there.

    Says nothing where a rollback since serves another version: the pointer is the rollback's then.
    """
    pointer = {"folder": folder, "index": published.version}
    with store.exclusive(ROLLBACK):
        if not store.exists(f"{folder}/table.json"):
            return False
        now = current(store)
        if now is not None and now.restores is not None and now.version != published.version:
            return True
        with contextlib.suppress(FileNotFoundError, StoreError):
            if store.read_json(CURRENT_TABLE) == pointer:
                return True
        store.write_json(CURRENT_TABLE, pointer)
    return True
