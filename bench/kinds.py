"""Kinds of index and the libraries beside them on the same vectors: build, query at a recall, file, memory; LSH curves.

    PYTHONPATH=. .venv/bin/python bench/kinds.py --store FOLDER --libraries FOLDER           # the table
    PYTHONPATH=. .venv/bin/python bench/kinds.py --store FOLDER --lsh bench/lsh.svg           # recall against g, h, w

--store: a store with the sample shop in it (vetrina demo). --libraries: where the libraries lie that Vetrina does not
need: .venv/bin/pip install --target FOLDER --no-deps faiss-cpu hnswlib (which is compiled).

The vectors are made around real ones (see made_vectors.py); queries are made likewise and are not in the index. Each
index is built and asked in processes of their own with one thread. Times are processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from made_vectors import made_vectors, real_vectors

from vetrina.evaluation.kinds import TARGETS, Search, Task, reach
from vetrina.index.kinds import build_kind, open_kind

DIMS, K, QUERIES = 150, 10, 300
MOST_EF = 4096
EDGES, EF_BUILD = 16, 128
CELLS = 1024
TABLES = 128
CURVES = [*((8, w) for w in (1.0, 1.5, 2.0)), *((h, w) for h in (12, 16) for w in (1.5, 2.0, 3.0))]
Opened = tuple[Search, int]


def faiss_index(name: str, dims: int) -> Any:
    import faiss

    if name == "faiss flat":
        return faiss.IndexFlatIP(dims)
    if name == "faiss IVF":
        return faiss.IndexIVFFlat(faiss.IndexFlatIP(dims), dims, CELLS, faiss.METRIC_INNER_PRODUCT)
    graph = faiss.IndexHNSWFlat(dims, EDGES, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = EF_BUILD
    return graph


def build_faiss(name: str, vectors: np.ndarray, folder: Path) -> None:
    import faiss

    index = faiss_index(name, vectors.shape[1])
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(folder / "faiss"))


def open_faiss(name: str, vectors: np.ndarray, folder: Path) -> Opened:
    import faiss

    index = faiss.read_index(str(folder / "faiss"))

    def search(query: np.ndarray, effort: int) -> np.ndarray:
        if name == "faiss IVF":
            index.nprobe = effort
        elif name == "faiss HNSW":
            index.hnsw.efSearch = max(effort, K)
        return index.search(query[None], K)[1][0]

    return search, {"faiss flat": 1, "faiss IVF": CELLS}.get(name, MOST_EF)


def build_hnswlib(name: str, vectors: np.ndarray, folder: Path) -> None:
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), M=EDGES, ef_construction=EF_BUILD, random_seed=17)
    index.add_items(vectors, num_threads=1)
    index.save_index(str(folder / "hnswlib"))


def open_hnswlib(name: str, vectors: np.ndarray, folder: Path) -> Opened:
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1])
    index.load_index(str(folder / "hnswlib"))

    def search(query: np.ndarray, effort: int) -> np.ndarray:
        index.set_ef(max(effort, K))
        return index.knn_query(query, K, num_threads=1)[0][0].astype(np.int64)

    return search, MOST_EF


def build_scikit(name: str, vectors: np.ndarray, folder: Path) -> None:
    """It has no file but a pickle, so it is fitted anew where it is asked."""
    fit_scikit(name, vectors)


def open_scikit(name: str, vectors: np.ndarray, folder: Path) -> Opened:
    fitted = fit_scikit(name, vectors)
    return lambda query, effort: fitted.kneighbors(query[None], return_distance=False)[0], 1


def fit_scikit(name: str, vectors: np.ndarray) -> Any:
    from sklearn.neighbors import NearestNeighbors

    algorithm = name.removeprefix("scikit-learn ").replace(" ", "_")
    return NearestNeighbors(n_neighbors=K, algorithm=algorithm, n_jobs=1).fit(vectors)


def build_own(name: str, vectors: np.ndarray, folder: Path) -> None:
    build_kind(name.removeprefix("vetrina "), vectors, folder / "kind")


def open_own(name: str, vectors: np.ndarray, folder: Path) -> Opened:
    kind = open_kind(folder / "kind")
    return lambda query, effort: kind.nearest(query, K, effort), kind.most_effort


Build = Callable[[str, np.ndarray, Path], None]
Open = Callable[[str, np.ndarray, Path], Opened]
CONTENDERS: dict[str, tuple[Build, Open]] = {
    **dict.fromkeys([f"vetrina {kind}" for kind in ("annoy", "exact", "lsh", "graph")], (build_own, open_own)),
    **dict.fromkeys(["faiss flat", "faiss IVF", "faiss HNSW"], (build_faiss, open_faiss)),
    "hnswlib": (build_hnswlib, open_hnswlib),
    **dict.fromkeys(["scikit-learn brute", "scikit-learn ball tree"], (build_scikit, open_scikit)),
}


def make_task(store: str, rows: int, folder: Path) -> None:
    made = made_vectors(real_vectors(store, DIMS), rows + QUERIES)
    task = Task.of(made[:rows], made[rows:], K)
    for name in ("vectors", "queries", "kth"):
        np.save(folder / f"{name}.npy", getattr(task, name))


def load_task(folder: Path) -> Task:
    vectors, queries, kth = (np.load(folder / f"{name}.npy") for name in ("vectors", "queries", "kth"))
    return Task(vectors, queries, K, kth)


def resident(entry: str) -> float:
    """Of this process, MB: VmRSS (now) or VmHWM (at its most)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{entry}:"))) / 1e3


def step(name: str, what: str, folder: Path) -> dict[str, Any]:
    """Build or ask one index, in this process."""
    build, open_index = CONTENDERS[name]
    task = load_task(folder)
    place = folder / name.replace(" ", "-")
    before = resident("VmRSS")
    if what == "build":
        place.mkdir()
        start = time.process_time()
        build(name, task.vectors, place)
        spent = time.process_time() - start
        size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
        return {"build_s": spent, "build_mb": resident("VmHWM") - before, "file_mb": size / 1e6}
    search, most_effort = open_index(name, task.vectors, place)
    reached = reach(task, search, most_effort)
    return {"memory_mb": resident("VmRSS") - before, "reached": [asdict(entry) for entry in reached]}


def table(folder: Path, libraries: str, names: list[str]) -> None:
    print("| index | build, CPU-s | build memory | file | memory | " + " | ".join(f"{t:.2f}" for t in TARGETS) + " |")
    print("| --- | --- | --- | --- | --- | " + " | ".join("---" for _ in TARGETS) + " |")
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    environment = {**os.environ, **one, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *libraries.split(os.pathsep)])}
    for name in names:
        got: dict[str, Any] = {}
        for what in ("build", "ask"):
            command = [sys.executable, __file__, "--one", name, what, str(folder)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"| {name} | not measured: {done.stderr.strip().splitlines()[-1]} |")
                break
            got.update(json.loads(done.stdout))
        else:
            cells = [f"{got['build_s']:.1f}", f"{got['build_mb']:.0f} MB", f"{got['file_mb']:.0f} MB"]
            cells += [f"{got['memory_mb']:.0f} MB", *(shown(entry) for entry in got["reached"])]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def shown(entry: dict[str, Any]) -> str:
    if entry["effort"] is None:
        return f"{entry['recall']:.3f} at most, {entry['p50_ms']:.2f} / {entry['p99_ms']:.2f} ms"
    how = "" if entry["recall"] == 1.0 and entry["effort"] == 1 else f" ({entry['effort']})"
    return f"{entry['p50_ms']:.2f} / {entry['p99_ms']:.2f} ms{how}"


def lsh(folder: Path, drawing: Path) -> None:
    """Recall and share of items visited against tables (g), projections (h) and width (w)."""
    task = load_task(folder)
    lines = {}
    steps = [2**power for power in range(TABLES.bit_length())]
    print("| h | w | " + " | ".join(f"g = {tables}" for tables in steps) + " |")
    print("| --- | --- | " + " | ".join("---" for _ in steps) + " |")
    for h, w in CURVES:
        place = folder / f"lsh-{h}-{w}"
        build_kind("lsh", task.vectors, place, {"tables": TABLES, "projections": h, "width": w})
        kind = open_kind(place)
        points = []
        for tables in steps:
            recall = task.recall(kind.nearest(query, K, tables) for query in task.queries)
            visited = float(np.mean([kind.visited(query, K, tables) for query in task.queries])) / kind.items
            points.append((visited, recall))
        lines[f"h {h}, w {w:g}"] = points
        print(f"| {h} | {w:g} | " + " | ".join(f"{r:.2f} · {v:.2%}" for v, r in points) + " |", flush=True)
    drawing.write_text(drawn(lines), encoding="utf-8")


def drawn(lines: dict[str, list[tuple[float, float]]]) -> str:
    """Recall (up) against the share of items visited (across, by powers of ten from 0.01 % to 100 %)."""
    colours = {"8": "#b3431e", "12": "#1f6f8b", "16": "#4a7c2c"}
    dashes = {"1": "1 3", "1.5": "3 3", "2": "", "3": "8 3"}

    def at(visited: float, recall: float) -> tuple[float, float]:
        return 60 + 110 * (np.log10(max(visited, 1e-4)) + 4), 330 - 300 * recall

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="620" height="380" font-family="sans-serif" font-size="11">',
        '<rect width="620" height="380" fill="white"/>',
        '<text x="280" y="372" text-anchor="middle">share of items visited</text>',
        '<text x="8" y="18">recall@10</text>',
    ]
    for power in range(-4, 1):
        x, y = at(10.0**power, 0)
        parts.append(f'<path d="M{x:.0f} {y:.0f}V30" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.0f}" y="{y + 18:.0f}" text-anchor="middle">{10.0 ** (power + 2):g} %</text>')
    for tenth in range(0, 11, 2):
        x, y = at(0, tenth / 10)
        parts.append(f'<path d="M{x:.0f} {y:.0f}H500" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 8:.0f}" y="{y + 4:.0f}" text-anchor="end">{tenth / 10:g}</text>')
    for number, (name, points) in enumerate(lines.items()):
        h, w = name.removeprefix("h ").split(", w ")
        style = f'fill="none" stroke="{colours[h]}" stroke-width="1.5" stroke-dasharray="{dashes[w]}"'
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        y = 36 + 16 * number
        parts.append(f'<polyline points="{path}" {style}/><path d="M512 {y - 4}h30" {style}/>')
        parts.append(f'<text x="548" y="{y}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="vetrina-store")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--libraries", default="", help="folders of other libraries, separated as in PYTHONPATH")
    parser.add_argument("--only", action="append", choices=list(CONTENDERS), help="only this index; may be repeated")
    parser.add_argument("--lsh", type=Path, metavar="SVG", help="draw the LSH curves here instead")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, what, folder = options.one
        print(json.dumps(step(name, what, Path(folder))))
        return
    with tempfile.TemporaryDirectory(prefix="vetrina-kinds-") as folder:
        make_task(options.store, options.rows, Path(folder))
        if options.lsh:
            lsh(Path(folder), options.lsh)
        else:
            table(Path(folder), options.libraries, options.only or list(CONTENDERS))


if __name__ == "__main__":
    main()
