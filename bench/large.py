"""An index of a million vectors: build memory, load, query against raw Annoy, filtered queries, recall.

    PYTHONPATH=. .venv/bin/python bench/large.py --store FOLDER            # a store with the sample shop in it
    PYTHONPATH=. .venv/bin/python bench/large.py --store FOLDER --rows 100000

The vectors are made around real ones: the items of the sample shop, projected to 150 dimensions by the index's own
projection. A vector starts at a real one, goes a random part of the way towards two of its ten nearest, and 0.3 of the
difference of two real vectors drawn at random is added; so it varies in the directions in which real ones do. Classes
are neighbourhoods: the vectors that started at the real ones nearest to some real one. Queries are timed by the CPU
time of the thread, after a round that is not, so that neither side pays for mapping its files.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annoy
import numpy as np
import pyarrow as pa
from filtered import PARTS, cpu, filtered
from made_vectors import around, real_vectors

from vetrina.index.annoy_file import AnnoyFile
from vetrina.index.build import build_index
from vetrina.index.reader import open_folder
from vetrina.index.recall import exact_truth
from vetrina.index.rows import META_SCHEMA
from vetrina.index.settings import IndexSettings
from vetrina.search.answers import Answer
from vetrina.search.engine import SearchEngine

DIMS, K, QUERIES = 150, 10, 300
_BLOCK = 1 << 15
_SIZES = (100, 1_000)
RAW, LABELS = "raw.f32", "labels.npy"


def generate(real: np.ndarray, rows: int, folder: Path) -> None:
    """Write the vectors (float32, row by row) and the class of each (−1: none)."""
    rng = np.random.default_rng(7)
    order = np.argsort(-(real @ real.T), axis=1)
    near = order[:, 1:11]
    starts = rng.integers(len(real), size=rows)
    labels = np.full(rows, -1)
    for number, size in enumerate((*_SIZES, *(rows // part for part in reversed(PARTS)))):
        centre = int(rng.integers(len(real)))
        rank = np.empty(len(real), np.int64)
        rank[order[centre]] = np.arange(len(real))
        free = np.flatnonzero(labels < 0)
        labels[free[np.argsort(rank[starts[free]], kind="stable")[:size]]] = number
    np.save(folder / LABELS, labels)
    with (folder / RAW).open("wb") as file:
        for at in range(0, rows, _BLOCK):
            file.write(around(real, starts[at : at + _BLOCK], near, rng).tobytes())


def tables(folder: Path, rows: int) -> Iterator[pa.Table]:
    """The items, a block at a time: each a product of its own."""
    labels = np.load(folder / LABELS)
    with (folder / RAW).open("rb") as file:
        for at in range(0, rows, _BLOCK):
            vectors = np.frombuffer(file.read(_BLOCK * DIMS * 4), np.float32)
            names = [f"p{number:07d}" for number in range(at, at + len(vectors) // DIMS)]
            own = [None if code < 0 else f"class {code}" for code in labels[at : at + len(names)].tolist()]
            columns: dict[str, list[Any]] = {
                "product_id": names,
                "crop_id": names,
                "sha256": names,
                "kind": ["whole"] * len(names),
                "label": own,
                "score": [0.5] * len(names),
                **{side: [0.0] * len(names) for side in ("ymin", "xmin", "ymax", "xmax")},
                "batch": ["b"] * len(names),
            }
            meta = pa.table(columns, schema=META_SCHEMA)
            yield meta.append_column("vector", pa.FixedSizeListArray.from_arrays(pa.array(vectors), DIMS))


def resident() -> dict[str, int]:
    """Bytes of this process in memory: its own, and pages of mapped files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile")}


def build(folder: Path, rows: int) -> None:
    """Build in this process and print what it took."""
    before, peaks, done = resident(), {"RssAnon": 0, "RssFile": 0, "both": 0}, threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            now = resident()
            for name, value in (*now.items(), ("both", sum(now.values()))):
                peaks[name] = max(peaks[name], value)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.process_time()
    settings = IndexSettings(projection_dims=None, serve_with="annoy")
    build_index(lambda: tables(folder, rows), folder / "index", settings, fingerprints={}, sources={})
    spent = time.process_time() - start
    done.set()
    watcher.join()
    print(json.dumps({"cpu_s": spent, "before": before, "peaks": peaks}))


def loads(folder: Path) -> dict[str, float]:
    """Seconds by the clock, best of five: mapping vectors and Annoy file, and opening with checksums and items."""

    def mapped() -> None:
        AnnoyFile(folder / "index.ann", np.load(folder / "vectors.npy", mmap_mode="r")).close()

    found = {}
    for name, work, repeat in (("mapped", mapped, 5), ("verified", lambda: open_folder(folder), 2)):
        times = []
        for _ in range(repeat):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        found[name] = min(times)
    return found


def queries(folder: Path) -> dict[str, Any]:
    """Our query against raw Annoy's on the same file, in turn; then queries within filters against those without."""
    index = open_folder(folder)
    engine = SearchEngine(index)
    vectors, search_k = index.rows.vectors, index.manifest.annoy["search_k"]
    raw = annoy.AnnoyIndex(DIMS, "angular")
    raw.load(str(folder / "index.ann"))
    rng = np.random.default_rng(3)
    asked = np.sort(rng.choice(len(vectors), QUERIES, replace=False))
    ids = [index.rows.product_id(row) for row in asked]
    ours, theirs, recall, raw_recall = [], [], [], []
    truth = exact_truth(vectors, asked, K)
    answers: list[Answer] = []

    def search(at: int) -> None:
        query = engine.product_query(ids[at])
        answers.append(engine.search(query, K, exclude=[ids[at]]))

    rows: list[list[int]] = []

    def raw_search(at: int) -> None:
        rows.append(raw.get_nns_by_vector(vectors[asked[at]], K + 1, search_k))

    for at in range(QUERIES):
        search(at), raw_search(at)
    answers.clear(), rows.clear()
    for at in range(QUERIES):
        first, second = (search, raw_search) if at % 2 else (raw_search, search)
        times = {first: cpu(lambda: first(at)), second: cpu(lambda: second(at))}  # noqa: B023
        ours.append(times[search])
        theirs.append(times[raw_search])
        kth = truth.kth[at] - 1e-6
        recall.append(
            sum(vectors[int(f.product_id[1:])] @ vectors[asked[at]] >= kth for f in answers[-1].neighbours) / K
        )
        others = [row for row in rows[-1] if row != asked[at]][:K]
        raw_recall.append(np.count_nonzero(vectors[others] @ vectors[asked[at]] >= kth) / K)
    report: dict[str, Any] = {
        "search_k": search_k,
        "trees": index.manifest.annoy["trees"],
        "approximate": sum(not answer.exact for answer in answers) / QUERIES,
        "raw_ms": np.mean(theirs) * 1e3,
        "ours_ms": np.mean(ours) * 1e3,
        "ratio": np.sum(ours) / np.sum(theirs),
        "median_ratio": float(np.median(np.array(ours) / np.array(theirs))),
        "recall": np.mean(recall),
        "raw_recall": np.mean(raw_recall),
        "frontier": index.manifest.recall["frontier"],
        "manifest_recall": {name: index.manifest.recall[name] for name in ("recall", "lower_95", "outside", "met")},
        "by_label": index.manifest.recall["by_label"],
        "cells": index.manifest.cells,
        "filters": list(filtered(engine, K)),
    }
    return report


def main() -> None:
    """Run all stages; the build in a process of its own, whose memory is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", required=True, help="a store with the sample shop in it")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", help="keep the files here, and use those that are there")
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vetrina-large-") as scratch:
        folder = Path(chosen.folder or scratch)
        if chosen.build:
            build(folder, chosen.rows)
            return
        folder.mkdir(parents=True, exist_ok=True)
        report: dict[str, Any] = {"rows": chosen.rows, "vectors_mb": chosen.rows * DIMS * 4 / 1e6}
        if not (folder / "index" / "manifest.json").exists():
            generate(real_vectors(chosen.store, DIMS), chosen.rows, folder)
            command = [sys.executable, __file__, "--build", "--store", chosen.store, "--folder", str(folder)]
            done = subprocess.run([*command, "--rows", str(chosen.rows)], check=True, capture_output=True, text=True)
            report["build"] = json.loads(done.stdout.splitlines()[-1])
            print(json.dumps(report["build"]), file=sys.stderr)
        report["load_s"] = loads(folder / "index")
        print(json.dumps(report | queries(folder / "index"), indent=1, default=float))


if __name__ == "__main__":
    main()
