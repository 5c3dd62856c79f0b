"""Reading the embeddings of many batches into one matrix: against pyarrow's plain read of the same vectors.

    .venv/bin/python bench/reading.py [--batches N] [--products N] [--dims D] [--folder F]

Each batch is a table as `vetrina.embedding` writes it, one whole picture a product. Compared are, in turn, in CPU time:
pyarrow's read of the vectors alone into one table that is made one matrix, our blocks as an index build takes them
(items checked, hashed, owned) into one matrix, and the files' bytes alone. Memory is measured in processes of its own.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
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


def plain(store: Store) -> np.ndarray:
    paths = [embeddings_path(batch, FINGERPRINT) for batch in list_batches(store)]
    tables = [pq.read_table(f"{store.root}/{path}", columns=["vector"]) for path in paths]
    column = pa.concat_tables(tables)["vector"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)


def ours(store: Store) -> np.ndarray:
    items = IndexItems(store, FINGERPRINT)
    return matrix_of(items)


def raw(store: Store) -> int:
    return sum(len(store.read(embeddings_path(batch, FINGERPRINT))) for batch in list_batches(store))
