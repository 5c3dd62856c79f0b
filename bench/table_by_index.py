"""The table of similar products by the index, against comparing all: what each costs, and what the index finds.

    PYTHONPATH=. .venv/bin/python bench/table_by_index.py --store FOLDER --rows 100000 300000

Vectors as in `large.py`, made around those of the sample shop in the store; each is a product of its own. Times are
CPU time of the process; exactly worked are blocks of products spread evenly, by the index products drawn at random.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from large import DIMS, generate, tables
from made_vectors import real_vectors

from vetrina.index.build import build_index
from vetrina.index.candidates import OWN
from vetrina.index.reader import open_folder
from vetrina.index.settings import BY_INDEX, IndexSettings, TableSettings
from vetrina.index.table import similar_products
from vetrina.index.table_search import exact_work, table_search

NEIGHBOURS, BLOCKS, DRAWN = 10, 4, 3000


def spent(lines: Iterable[pa.Table]) -> float:
    """CPU seconds that the lines take."""
    began = time.process_time()
    assert sum(table.num_rows for table in lines) > 0
    return time.process_time() - began


def measured(store: str, rows: int, folder: Path) -> Iterator[str]:
    generate(real_vectors(store, DIMS), rows, folder)
    settings = IndexSettings(projection_dims=None, serve_with="annoy")
    build_index(lambda: tables(folder, rows), folder / "index", settings, fingerprints={}, sources={})
    index = open_folder(folder / "index")
    lines = partial(similar_products, index, NEIGHBOURS, min_score=None)
    blocks = np.linspace(0, rows - OWN, BLOCKS).astype(int).tolist()
    some = np.sort(np.random.default_rng(3).choice(rows, DRAWN, replace=False))
    for same_class in (False, True):
        began = time.process_time()
        how = table_search(
            index,
            TableSettings(NEIGHBOURS, same_class, made_by=BY_INDEX),
            lambda sample, search, first=same_class: lines(same_class=first, part=sample, search=search),
        )
        tuned = time.process_time() - began
        exact = sum(spent(lines(same_class=same_class, part=range(at, at + OWN))) for at in blocks) / (BLOCKS * OWN)
        found = spent(lines(same_class=same_class, part=some, search=how.search)) / DRAWN
        yield (
            f"| {rows} | {'yes' if same_class else 'no'} | {exact_work(index):.1e} | {exact * rows:.0f} s | "
            f"{found * rows:.0f} s | {exact / found:.1f} | {how.recall['recall']:.4f} ({how.recall['lower_95']:.4f}) | "
            f"{index.manifest.annoy['search_k']} → {how.recall['search_k']} | {tuned:.0f} s |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 300_000])
    options = parser.parse_args()
    print("| products | same class first | work | exact | index | ratio | found (lower 95 %) | search_k | tuning |")
    print("| --- " * 9 + "|")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            for line in measured(options.store, rows, Path(folder)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
