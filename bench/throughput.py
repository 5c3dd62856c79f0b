"""Detection and embedding against the two bare models on the same pictures, and the memory of a batch.

    python bench/throughput.py [--pictures 820] [--repeat 3] [--memory] [--folder /dev/shm]
                               [--extractor HANDLE]

The pipeline's time holds everything after the fetch: decoding (twice, in processes of their own), preprocessing,
boxes, crops, memos, tables. The bare models' time holds nothing but `invoke` on tensors that lie ready, on as many
threads. Model load is in neither. Pictures are those of the sample shop; beyond 820 they are varied copies.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from orchestration.sample_shop import get_sample_shop
from resources.configured import detector_of, extractor_of
from resources.models import DetectorResource, ExtractorResource
from vetrina.catalog.batches import Batch, register_batch
from vetrina.catalog.shop import catalogue_batch
from vetrina.detection.labelling import label_pictures
from vetrina.embedding.extractor import DEFAULT_EXTRACTOR
from vetrina.embedding.vectors import embed_crops
from vetrina.pictures.collecting import collect_pictures
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.fetching import Fetcher
from vetrina.settings import Settings
from vetrina.store import Store

FOLDER = Path(".demo")


@dataclass
class Models:
    detector: DetectorResource
    extractor: ExtractorResource


def write_catalog(folder: Path, count: int) -> Path:
    """A catalog of `count` pictures: the sample shop's, then copies that differ in a corner."""
    sources = [
        catalog.parent / row["path"]
        for catalog in get_sample_shop(FOLDER)
        for row in csv.DictReader(catalog.open(encoding="utf-8"))
    ]
    catalog = folder / "bench.csv"
    with catalog.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "path"])
        for number in range(count):
            source = sources[number % len(sources)]
            target = folder / f"{number}{source.suffix}"
            if number < len(sources):
                target.write_bytes(source.read_bytes())
            else:
                pixels = cv2.imread(str(source), cv2.IMREAD_UNCHANGED)
                pixels[:4, :4] = number % 251
                pixels[:4, 4:8] = number // 251
                cv2.imwrite(str(target), pixels)
            writer.writerow([number, target.name])
    return catalog


def collect(store: Store, catalog: Path, decoders: DecoderPool) -> Batch:
    batch, _ = register_batch(store, str(catalog))
    catalogue_batch(store, batch)
    with Fetcher() as fetcher:
        collect_pictures(store, batch, fetcher, decoders)
    return batch


def pipeline(store: Store, batch: Batch, models: Models, decoders: DecoderPool, workers: int) -> tuple[float, int, int]:
    """Seconds, pictures and crops of detection and embedding."""
    began = time.perf_counter()
    labels = label_pictures(
        store, batch, models.detector.open(), models.detector.selection(), decoders, workers=workers
    )
    fingerprint = models.detector.labels_fingerprint()
    vectors = embed_crops(store, batch, fingerprint, models.extractor.open(store), decoders, workers=workers)
    seconds = time.perf_counter() - began
    assert (labels.detected, vectors.reused) == (labels.pictures, 0)
    return seconds, labels.detected, vectors.embedded


def bare(models: Models, pictures: int, crops: int, workers: int) -> float:
    """Seconds of the two networks alone, back to back, for so many pictures and crops."""
    from ai_edge_litert.interpreter import Interpreter

    from vetrina.models import models_folder

    seconds = 0.0
    extractor = models_folder() / f"extractors/{models.extractor.identity().fingerprint}.tflite"
    for file, count in ((models_folder() / "detectors/openimages-ssd.tflite", pictures), (extractor, crops)):
        local = threading.local()

        def ready(file: Path = file, local: threading.local = local) -> None:
            local.network = Interpreter(str(file), num_threads=1)
            local.network.allocate_tensors()
            slot = local.network.get_input_details()[0]
            rng = np.random.default_rng(1)
            local.network.set_tensor(slot["index"], rng.uniform(-1, 1, slot["shape"]).astype(np.float32))
            local.network.invoke()
            time.sleep(0.2)  # so that each thread takes one of these

        def invoke(_: int, local: threading.local = local) -> None:
            local.network.invoke()

        with ThreadPoolExecutor(workers) as pool:
            for job in [pool.submit(ready) for _ in range(workers)]:
                job.result()
            began = time.perf_counter()
            list(pool.map(invoke, range(count)))
            seconds += time.perf_counter() - began
    return seconds


def resident(kind: str = "VmRSS") -> float:
    """MB resident in this process and its decoders."""
    total = 0
    for status in (Path("/proc/self/status"), *_children()):
        try:
            lines = status.read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(kind))
    return total / 1024


def _children() -> Iterator[Path]:
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            for pid in (task / "children").read_text().split():
                yield Path(f"/proc/{pid}/status")


def peak_while(work: Callable[[], object]) -> float:
    """The most MB resident while `work` ran, looked at every 50 ms."""
    most, stop = 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not stop.wait(0.05):
            most = max(most, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    stop.set()
    watcher.join()
    return most


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=820)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the stores go")
    parser.add_argument("--memory", action="store_true", help="only the memory, not the bare models")
    parser.add_argument("--extractor", default=DEFAULT_EXTRACTOR, help="one that LiteRT runs")
    options = parser.parse_args()
    settings = Settings(extractor=options.extractor)
    models = Models(detector_of(settings), extractor_of(settings))
    workers = settings.worker_count
    blank = np.full((300, 300, 3), 200, np.uint8)
    together = threading.Barrier(workers)

    def load(_: int) -> None:
        models.detector.open().detect(blank)
        together.wait()  # so that each thread has an interpreter of its own
        models.extractor.open(Store(options.folder)).embed([blank] * 20)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(load, range(workers)))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, DecoderPool(workers) as decoders:
        catalog = write_catalog(Path(folder), options.pictures)
        decoders.decode((Path(folder) / "0.png").read_bytes())
        loaded = resident()
        shares, memory = [], 0.0
        for number in range(options.repeat):
            store = Store(Path(folder) / f"store-{number}")
            found: list[tuple[float, int, int]] = []
            batches: list[Batch] = []

            def run(store: Store = store, batches: list[Batch] = batches) -> None:
                batches.append(collect(store, catalog, decoders))

            def work(store: Store = store, found: list = found, batches: list[Batch] = batches) -> None:
                found.append(pipeline(store, batches[0], models, decoders, workers))

            memory = max(memory, peak_while(run), peak_while(work))
            seconds, pictures, crops = found[0]
            alone = 0.0 if options.memory else bare(models, pictures, crops, workers)
            shares.append(alone / seconds)
            print(
                f"{pictures} pictures, {crops} crops: pipeline {seconds:.1f} s ({pictures / seconds:.1f}/s), "
                f"bare models {alone:.1f} s, share {alone / seconds:.2f}"
            )
    print(
        f"share of the bare models' throughput: median {sorted(shares)[len(shares) // 2]:.2f}; "
        f"memory: models and decoders loaded {loaded:.0f} MB, most in the batch {memory:.0f} MB "
        f"(+{memory - loaded:.0f})"
    )


if __name__ == "__main__":
    main()
