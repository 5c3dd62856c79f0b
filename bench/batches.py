"""How what happens at every tick and every run grows with the number of batches in the store.

    python bench/batches.py [--batches 100 500 2000] [--products 5] [--dims 64] [--folder FOLDER]

The store is filled through the domain's own functions: real catalogs, registered and catalogued; only pictures and
vectors are made up, so no model is loaded. Cold is a process that has read nothing yet (its caches are emptied; the
files are in the system's cache); warm is the next time in the same process, as a sensor ticks.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from assets.partitions import catalog_batch
from orchestration.definitions import build_defs
from orchestration.deployment import Deployment
from orchestration.jobs import PUBLISH_JOB
from orchestration.model_change import model_change_sensor
from orchestration.rebuild import rebuild_sensor
from resources.models import model_fingerprints
from vetrina.catalog import batches as batches_module
from vetrina.catalog.batches import Batch, find_batch, list_batches, register_batch
from vetrina.catalog.shop import catalogue_batch, shop_after
from vetrina.detection.labelling import labels_path
from vetrina.embedding.vectors import embeddings_path
from vetrina.index import sources as sources_module
from vetrina.index.publishing import publish_index, publish_table
from vetrina.index.sources import IndexItems, index_sources
from vetrina.quality.drift import earlier_figures, measure_batch
from vetrina.settings import Settings
from vetrina.store import Store
from vetrina.tables import IMAGES, LABELS, TableWriter, embeddings_schema, write_table


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def forget() -> None:
    """As a new process: nothing is known of the store."""
    sources_module._KNOWN.clear()
    batches_module._LISTED.clear()


def fill(store: Store, batch: Batch, products: list[str], models: dict[str, str], dims: int, seed: int) -> None:
    """Pictures, labels and vectors of a catalogued batch, made up."""
    images, labels = [], []
    for product in products:
        sha256 = f"{hash(product) & (2**64 - 1):016x}" * 4
        outcome = {"state": "ok", "transient": False, "sha256": sha256, "attempts": 1, "seconds": 0.1}
        images.append({"product_id": product, "picture": f"http://shop.example/{product}", **outcome})
        box = {"ymin": 0.0, "xmin": 0.0, "ymax": 1.0, "xmax": 1.0}
        known = {"product_id": product, "sha256": sha256, "score": None, **box}
        labels.append({**known, "crop_id": sha256[:32], "kind": "whole", "label": None})
    write_table(store, batch.path("images.parquet"), IMAGES, images)
    write_table(store, labels_path(batch, models["labels"]), LABELS, labels, {"products": "p", "unreadable": {}})
    schema = embeddings_schema(dims)
    raw = np.random.default_rng(seed).standard_normal((len(products), dims)).astype(np.float32)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(raw.ravel()), type=schema.field("vector").type)
    table = pa.Table.from_pylist(labels, schema=LABELS).append_column(schema.field("vector"), vectors)
    notes = {"digest": batch.key, "labels": models["labels"], "extractor": models["extractor"], "unreadable": {}}
    with TableWriter(store, embeddings_path(batch, models["embeddings"]), schema, notes) as writer:
        writer.add_table(table)


def build(deployment: Deployment, folder: Path, start: int, count: int, products: int, dims: int) -> float:
    """Add batches until there are `count`; gives the seconds that registering and cataloguing the last ten took."""
    store = deployment.store
    models = model_fingerprints(deployment.detector, deployment.extractor)
    last_ten = 0.0
    for number in range(start, count):
        ids = [f"p{number}-{n}" for n in range(products)]
        file = folder / f"catalog-{number}.csv"
        file.write_text("id,url\n" + "".join(f"{name},http://shop.example/{name}\n" for name in ids))
        began = time.perf_counter()
        batch = register_batch(store, str(file))[0]
        catalogue_batch(store, batch)
        if number >= count - 10:
            last_ten += time.perf_counter() - began
        fill(store, batch, ids, models, dims, number)
    return last_ten / 10


def measure(deployment: Deployment, settings: Settings, catalogued: float) -> dict[str, float]:
    store = deployment.store
    models = model_fingerprints(deployment.detector, deployment.extractor)
    embeddings = models["embeddings"]
    index = deployment.index
    found: dict[str, float] = {"register and catalogue one batch": catalogued}

    def cold_and_warm(name: str, work: Callable[[], Any]) -> None:
        forget()
        found[f"{name}, cold"] = seconds(work)
        found[f"{name}, warm"] = min(seconds(work) for _ in range(3))

    newest = list_batches(store)[-1]
    cold_and_warm("list_batches", lambda: list_batches(store))
    cold_and_warm("find_batch (each step of a run)", lambda: find_batch(store, newest.key))
    cold_and_warm("shop_after (cataloguing)", lambda: shop_after(store, newest.sequence - 1))
    cold_and_warm("index_sources", lambda: index_sources(store, embeddings))
    cold_and_warm("IndexItems (index run, search window)", lambda: IndexItems(store, embeddings))
    items = IndexItems(store, embeddings)
    found["reading all items once"] = seconds(lambda: sum(table.num_rows for table in items()))
    found["index run in all"] = seconds(lambda: publish_index(store, embeddings, index.settings(), models))
    found["index run that finds nothing changed"] = seconds(
        lambda: publish_index(store, embeddings, index.settings(), models)
    )
    found["figures for drift of one batch"] = seconds(
        lambda: (measure_batch(store, newest, embeddings), earlier_figures(store, newest, embeddings))
    )
    found["coverage of the shop"] = seconds(lambda: deployment.coverage().shop())
    found["search window opened"] = seconds(lambda: deployment.window())

    now = publish_index(store, embeddings, index.settings(), models).published
    publish_table(store, now, index.table())
    with dg.instance_for_test() as instance:
        keys = [batch.key for batch in list_batches(store)]
        instance.add_dynamic_partitions(str(catalog_batch.name), keys)
        context = dg.build_sensor_context(instance=instance)
        publish = build_defs(store=settings.store).resolve_job_def(PUBLISH_JOB)
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        found["publish job in Dagster, nothing changed"] = seconds(
            lambda: publish.execute_in_process(instance=instance, run_config=quiet)
        )
        cold_and_warm("rebuild tick, nothing to do", lambda: rebuild_sensor(settings)(context))
        changed = Settings.from_environment(overrides={"store": settings.store, "recall_target": 0.9})
        found["rebuild tick, rebuild wanted"] = min(seconds(lambda: rebuild_sensor(changed)(context)) for _ in range(3))
        cold_and_warm("model_change tick, nothing to do", lambda: model_change_sensor(settings)(context))
        other = Settings.from_environment(overrides={"store": settings.store, "min_score": 0.9})
        cold_and_warm("model_change tick, all to be worked", lambda: model_change_sensor(other)(context))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument("--products", type=int, default=5, help="of each batch")
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    columns = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        settings = Settings.from_environment(overrides={"store": f"{name}/store"})
        deployment = Deployment(settings)
        start = 0
        for count in sorted(options.batches):
            forget()
            catalogued = build(deployment, Path(name), start, count, options.products, options.dims)
            columns.append(measure(deployment, settings, catalogued))
            start = count
            print(f"{count} batches measured", flush=True)
    print("\n| ms | " + " | ".join(f"{count:,} batches".replace(",", " ") for count in sorted(options.batches)) + " |")
    print("| --- |" + " --- |" * len(columns))
    for row in columns[0]:
        print(f"| {row} | " + " | ".join(f"{1000 * column[row]:.1f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
