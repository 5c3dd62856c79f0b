"""Reading the embeddings of many batches into one matrix: against pyarrow's plain read of the same vectors.

    .venv/bin/python bench/reading.py [--batches N] [--products N] [--dims D] [--folder F]

Each batch is a table as `vetrina.embedding` writes it, one whole picture a product. Compared are, in turn, pyarrow's
read of the vectors alone, made one matrix, and ours as an index build reads: all columns, each product's newest batch
only, vectors checked and hashed. The files are in the system's cache.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vetrina.catalog.batches import list_batches, register_batch
from vetrina.catalog.shop import catalogue_batch
from vetrina.embedding.vectors import embeddings_path
from vetrina.index.rows import read_blocks
from vetrina.index.sources import IndexItems
from vetrina.store import Store
from vetrina.tables import LABELS, TableWriter, embeddings_schema

FINGERPRINT = "f" * 16
SEED = 7


def fill(store: Store, folder: Path, batches: int, products: int, dims: int) -> None:
    rng = np.random.default_rng(SEED)
    schema = embeddings_schema(dims)
    for number in range(batches):
        names = [f"p{number:05d}-{product:04d}" for product in range(products)]
        catalog = folder / f"b{number:05d}.csv"
        catalog.write_text("id,url\n" + "".join(f"{name},https://shop.example/{name}.jpg\n" for name in names))
        batch, _ = register_batch(store, str(catalog))
        catalogue_batch(store, batch)
        vectors = rng.standard_normal((products, dims), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        rows = [
            {
                "product_id": name,
                "sha256": f"{number * products + place:064x}",
                "crop_id": f"{number * products + place:032x}",
                "kind": "whole",
                "label": None,
                "score": None,
                "ymin": 0.0,
                "xmin": 0.0,
                "ymax": 1.0,
                "xmax": 1.0,
            }
            for place, name in enumerate(names)
        ]
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dims)
        table = pa.Table.from_pylist(rows, schema=LABELS).append_column(schema.field("vector"), column)
        notes = {"digest": f"{number}", "labels": "l", "extractor": "e", "unreadable": {}}
        with TableWriter(store, embeddings_path(batch, FINGERPRINT), schema, notes) as writer:
            writer.add_table(table)


def plain(paths: list[str]) -> np.ndarray:
    """By pyarrow: the vectors alone, file by file."""
    return one_matrix([pq.read_table(path, columns=["vector"]) for path in paths])


def leanest(paths: list[str]) -> np.ndarray:
    """The same with the least that pyarrow can be asked to do."""
    tables = []
    for path in paths:
        with Path(path).open("rb") as handle:
            tables.append(pq.ParquetFile(handle).read(columns=["vector"], use_threads=False))
    return one_matrix(tables)


def one_matrix(tables: list[pa.Table]) -> np.ndarray:
    column = pa.concat_tables(tables)["vector"].combine_chunks()
    return np.asarray(column.flatten().to_numpy().reshape(len(column), -1))


def ours(items: IndexItems, rows: int, dims: int) -> np.ndarray:
    """As an index build reads them: with all columns, owned, checked and hashed."""
    out = np.empty((rows, dims), np.float32)
    done = 0
    for block in read_blocks(items(), dims):
        out[done : done + len(block.vectors)] = block.vectors
        done += len(block.vectors)
    assert done == rows
    return out


def resident() -> float:
    """Most memory that this process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare(store: Store, options: argparse.Namespace) -> None:
    rows = options.batches * options.products
    items = IndexItems(store, FINGERPRINT)
    paths = [f"{store.root}/{embeddings_path(batch, FINGERPRINT)}" for batch in list_batches(store)]
    matrix = rows * options.dims * 4 / 1e6
    before = resident()
    ours(items, rows, options.dims)
    grown = (resident() - before) * 1.048576
    same = np.array_equal(ours(items, rows, options.dims), plain(paths))
    print(f"{options.batches} batches of {options.products} x {options.dims}: {matrix:.0f} MB; equal: {same}")
    print(f"most memory of ours beyond what the catalog takes: {grown:.0f} MB, {grown / matrix:.2f} of the matrix")
    ways: dict[str, Callable[[], object]] = {
        "pq.read_table": lambda: plain(paths),
        "ParquetFile.read in one thread": lambda: leanest(paths),
        "ours": lambda: ours(items, rows, options.dims),
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(options.repeat):
        for name, work in ways.items():
            began = time.process_time(), time.perf_counter()
            work()
            spent[name].append((time.process_time() - began[0], time.perf_counter() - began[1]))
    for name, runs in spent.items():
        cpu, wall = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{name}: {cpu:.2f} CPU-s ({matrix / cpu / 1000:.2f} GB per CPU-s), {wall:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--products", type=int, default=50, help="of each batch")
    parser.add_argument("--dims", type=int, default=1280)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--folder", help="where the store is made; by default a folder for temporary files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = Store(Path(folder) / "store")
        fill(store, Path(folder), options.batches, options.products, options.dims)
        compare(store, options)


if __name__ == "__main__":
    main()
