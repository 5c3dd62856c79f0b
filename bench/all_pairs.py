"""The nearest others of every product, exactly: against the arithmetic alone, in CPU time.

    OPENBLAS_NUM_THREADS=1 .venv/bin/python bench/all_pairs.py [--products N] [--dims D] [--neighbours K] [--share S]

Made-up products, one item each: unit vectors around 2 000 centres, which the real ones of a shop resemble in that some
are near and most are far. Blocks of products are worked in turn with matrix products of the same shape, so that what
else the machine does weighs on both alike; `--share` works only so many of the blocks, spread evenly.
"""

from __future__ import annotations

import argparse
import os
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from vetrina.index.candidates import OTHERS, OWN, candidates
from vetrina.index.device import NumpyDevice
from vetrina.index.rows import META_SCHEMA, Rows
from vetrina.index.settings import Penalties, penalty_matrix
from vetrina.index.table import similar_products

SEED = 11
CENTRES = 2000


def made_up(count: int, dims: int) -> Rows:
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((CENTRES, dims), np.float32)
    vectors = centres[rng.integers(CENTRES, size=count)] + rng.standard_normal((count, dims), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns: dict[str, object] = {name: [None] * count for name in META_SCHEMA.names}
    columns |= {
        "product_id": [f"p{number:07d}" for number in range(count)],
        "crop_id": [f"c{number:07d}" for number in range(count)],
        "sha256": [f"{number:064x}" for number in range(count)],
        "kind": ["whole"] * count,
    }
    return Rows(vectors, pa.table(columns, schema=META_SCHEMA))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=150)
    parser.add_argument("--neighbours", type=int, default=50)
    parser.add_argument("--share", type=float, default=1.0, help="of the blocks")
    options = parser.parse_args()
    rows = made_up(options.products, options.dims)
    penalties = Penalties(0.05, 0.2)
    loss = penalty_matrix(penalties)
    settings = {"crop_penalty": penalties.mixed, "crop_crop_penalty": penalties.crops}
    index: Any = SimpleNamespace(rows=rows, manifest=SimpleNamespace(settings=settings))
    parts = [range(start, min(start + OWN, options.products)) for start in range(0, options.products, OWN)]
    parts = parts[:: max(1, round(1 / options.share))]
    spent = {"arithmetic alone": 0.0, "candidates": 0.0, "table (candidates, exact scores, columns)": 0.0}

    def arithmetic(part: range) -> None:
        for other in range(0, options.products, OTHERS):
            rows.vectors[part.start : part.stop] @ rows.vectors[other : other + OTHERS].T

    def nearest(part: range) -> None:
        for _, found in candidates(rows, loss, options.neighbours, NumpyDevice(), part, by_class=False):
            found.best(options.neighbours)

    def table(part: range) -> None:
        tables = similar_products(index, options.neighbours, same_class=False, min_score=None, part=part)
        assert sum(one.num_rows for one in tables) == len(part) * options.neighbours

    for part in parts:
        for name, work in zip(spent, (arithmetic, nearest, table), strict=True):
            began = time.process_time()
            work(part)
            spent[name] += time.process_time() - began
    done = sum(len(part) for part in parts)
    multiplications = 2.0 * done * options.products * options.dims
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "all")
    print(f"{options.products} x {options.dims}, {options.neighbours} nearest, {done} worked; BLAS threads: {threads}")
    for name, seconds in spent.items():
        rate, share = multiplications / seconds / 1e9, spent["arithmetic alone"] / seconds
        print(f"{name}: {seconds:.1f} CPU-s, {rate:.1f} GFLOP per CPU-s, {share:.2f}")


if __name__ == "__main__":
    main()
