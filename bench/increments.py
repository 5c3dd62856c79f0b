"""What a batch of new products costs in a large store against an empty one, the index step left out.

    python bench/increments.py [--products 100000] [--batch 100] [--repeat 3] [--folder FOLDER]

The large store is generated: catalogs are registered and catalogued by the real code; pictures, labels and vectors
are tables of the real schemas with random vectors, whose pictures are named but not there. The new products are real
pictures of the sample shop, each varied in a corner so that nothing is remembered. Each repeat works a batch in each
store, by turns, as the Dagster run that `vetrina add` makes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from orchestration.deployment import Deployment
from orchestration.home import open_instance
from orchestration.runs import RunReport, run_batch
from orchestration.sample_shop import get_sample_shop
from vetrina.catalog.batches import Batch, register_batch
from vetrina.catalog.shop import catalogue_batch, changes
from vetrina.detection.crops import WHOLE, crop_id
from vetrina.detection.labelling import labels_path
from vetrina.embedding.vectors import embeddings_path
from vetrina.settings import Settings
from vetrina.store import Store
from vetrina.tables import IMAGES, LABELS, TableWriter, embeddings_schema

_BATCH = 1000  # products of one generated batch


def generate(store: Store, products: int, folder: Path, labels: str, embeddings: str) -> None:
    """Fill a store with `products` products in batches of a thousand, as if they had been worked."""
    rng = np.random.default_rng(1)
    for first in range(0, products, _BATCH):
        catalog = folder / f"generated-{first}.csv"
        with catalog.open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["id", "url", "name", "price"])
            for number in range(first, min(first + _BATCH, products)):
                writer.writerow(
                    [f"generated-{number}", f"https://shop.example/{number}.jpg", f"Product {number}", number % 97]
                )
        batch, _ = register_batch(store, str(catalog))
        catalogue_batch(store, batch)
        _work(store, batch, labels, embeddings, rng)
        catalog.unlink()


def _work(store: Store, batch: Batch, labels: str, embeddings: str, rng: np.random.Generator) -> None:
    ids = [str(row["product_id"]) for row in changes(store, batch)]
    pictures = [hashlib.sha256(product.encode()).hexdigest() for product in ids]
    image = dict.fromkeys(IMAGES.names) | {
        "state": "ok",
        "transient": False,
        "media": "image/jpeg",
        "bytes": 40_000,
        "width": 800,
        "height": 800,
        "attempts": 1,
        "seconds": 0.1,
    }
    rows = [
        {
            "product_id": product,
            "sha256": sha256,
            "crop_id": crop_id(sha256, WHOLE),
            "kind": "whole",
            "label": None,
            "score": None,
            **WHOLE._asdict(),
        }
        for product, sha256 in zip(ids, pictures, strict=True)
    ]
    with TableWriter(store, batch.path("images.parquet"), IMAGES) as writer:
        for product, sha256 in zip(ids, pictures, strict=True):
            writer.add(image | {"product_id": product, "picture": f"https://shop.example/{product}", "sha256": sha256})
    with TableWriter(store, labels_path(batch, labels), LABELS, {"products": "", "unreadable": {}}) as writer:
        for row in rows:
            writer.add(row)
    vectors = rng.standard_normal((len(rows), 1280), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    schema = embeddings_schema(1280)
    notes = {"digest": batch.key, "labels": labels, "extractor": "", "unreadable": {}}
    with TableWriter(store, embeddings_path(batch, embeddings), schema, notes) as writer:
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=schema.field("vector").type)
        writer.add_table(pa.Table.from_pylist(rows, schema=LABELS).append_column(schema.field("vector"), column))


def new_catalogs(folder: Path, count: int) -> Iterator[Path]:
    """Catalogs of `count` real pictures each, none of which was seen before."""
    sources = [
        catalog.parent / row["path"]
        for catalog in get_sample_shop(Path(".demo"))
        for row in csv.DictReader(catalog.open(encoding="utf-8"))
    ]
    number = 0
    while True:
        catalog = folder / f"new-{number}.csv"
        with catalog.open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["id", "path"])
            for _ in range(count):
                pixels = cv2.imread(str(sources[number % count]), cv2.IMREAD_UNCHANGED)
                pixels[:4, :4], pixels[:4, 4:8] = number % 251, number // 251
                cv2.imwrite(str(folder / f"new-{number}.png"), pixels)
                writer.writerow([f"new-{number}", f"new-{number}.png"])
                number += 1
        yield catalog


def work(store: Path, catalog: Path) -> tuple[float, float, RunReport]:
    """Wall and CPU seconds (children included once they ended) of taking a catalog in, up to its vectors."""
    os.environ["VETRINA_STORE"] = str(store)
    os.environ["DAGSTER_HOME"] = str(store.with_name(f"{store.name}-home"))
    deployment = Deployment(Settings.from_environment())
    instance = open_instance()
    began, cpu = time.perf_counter(), _cpu()
    batch, _ = register_batch(deployment.store, str(catalog))
    report = run_batch(instance, batch.key)
    return time.perf_counter() - began, _cpu() - cpu, report


def _cpu() -> float:
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="where the stores go")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name).absolute()
        deployment = Deployment(Settings.from_environment())
        labels = deployment.detector.labels_fingerprint()
        embeddings = deployment.extractor.embeddings_fingerprint(deployment.detector)
        large = folder / "large"
        began = time.perf_counter()
        generate(Store(large), options.products, folder, labels, embeddings)
        print(f"generated {options.products} products in {time.perf_counter() - began:.0f} s")
        catalogs = new_catalogs(folder, options.batch)
        work(folder / "warm", next(catalogs))  # opens the models; not counted
        ratios = []
        for number in range(options.repeat):
            wall_empty, cpu_empty, _ = work(folder / f"empty-{number}", next(catalogs))
            wall_large, cpu_large, report = work(large, next(catalogs))
            assert report.metadata["embeddings"]["reused"] == 0
            ratios.append(wall_large / wall_empty)
            print(
                f"{options.batch} new products: empty store {wall_empty:.2f} s ({cpu_empty:.2f} CPU), store of "
                f"{options.products} {wall_large:.2f} s ({cpu_large:.2f} CPU): {ratios[-1]:.2f}"
            )
        print(f"median ratio {statistics.median(ratios):.2f} (limit 1.3)")


if __name__ == "__main__":
    main()
