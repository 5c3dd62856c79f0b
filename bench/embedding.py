"""An extractor's speed: pictures per second against the bare model's, and the share of the device's peak.

    python bench/embedding.py [HANDLE …] [--pictures 256] [--repeat 3]

*embed*: uint8 pictures of the sample shop in memory → vectors, on a thread for each core. *bare*: the same runtime on
tensors that lie ready, on as many threads (TensorFlow: one call after the other at the extractor's batch). *Keras at
32*: the network as Keras builds it, in a tf.function, at batch 32. Rounds take turns and the medians count, for a
machine is not equally busy all the time; on a shared one only the processor's own time (CPU ms) says anything. The peak
is that of float32 matrix products on the same device; floating-point operations are counted by TensorFlow's profiler (a
multiplication and an addition are two).
"""

from __future__ import annotations

import argparse
import csv
import datetime
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestration.sample_shop import get_sample_shop
from vetrina.accelerator import device_name, has_card, tensorflow
from vetrina.embedding.backbone import backbone_of
from vetrina.embedding.extractor import DEFAULT_EXTRACTOR, Extractor, open_extractor, prepare_extractor
from vetrina.embedding.on_tensorflow import TensorFlowExtractor
from vetrina.pictures.decoding import decode_picture
from vetrina.settings import Settings

FOLDER = Path(".demo")
BATCH = 32


def sample_pictures(count: int) -> list[np.ndarray]:
    """Decoded pictures of the sample shop, over and over."""
    files = [
        catalog.parent / row["path"]
        for catalog in get_sample_shop(FOLDER)
        for row in csv.DictReader(catalog.open(encoding="utf-8"))
    ]
    decoded = [decode_picture(file.read_bytes()).pixels for file in files[:count]]
    return [decoded[number % len(decoded)] for number in range(count)]


@dataclass(frozen=True)
class Cost:
    """Seconds of one round: on the clock, and of the processor's cores together."""

    wall: float
    cpu: float


def cost(work: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def embed_round(extractor: Extractor, pictures: list[np.ndarray], pool: ThreadPoolExecutor) -> Callable[[], object]:
    size = extractor.batch
    groups = [pictures[start : start + size] for start in range(0, len(pictures), size)]
    return lambda: list(pool.map(extractor.embed, groups))


def bare_round(extractor: Any, count: int, pool: ThreadPoolExecutor, workers: int) -> Callable[[], object]:
    """The extractor's own runtime, on tensors that lie ready."""
    if isinstance(extractor, TensorFlowExtractor):
        ready = tensorflow().constant(
            np.random.default_rng(1).random(extractor._room(extractor.batch).shape, np.float32)
        )
        calls = -(-count // extractor.batch)
        return lambda: [np.asarray(extractor._network(ready)) for _ in range(calls)]

    def work(share: int) -> None:
        with extractor._interpreters.borrow() as (interpreter, input_index, _, room):
            interpreter.set_tensor(input_index, room * 0)
            for _ in range(share):
                interpreter.invoke()

    return lambda: list(pool.map(work, [count // workers] * workers))


def keras_round(handle: str, count: int) -> tuple[Callable[[], object], float]:
    """Keras's own network at batch 32, and the floating-point operations of one picture."""
    tf = tensorflow()
    backbone = backbone_of(handle)
    network = backbone.build()
    side = backbone.preprocessing.side
    call = tf.function(lambda pictures: network(pictures, training=False))
    concrete = call.get_concrete_function(tf.TensorSpec((BATCH, side, side, 3), tf.float32))
    ready = tf.constant(np.random.default_rng(1).random((BATCH, side, side, 3), np.float32))
    single = call.get_concrete_function(tf.TensorSpec((1, side, side, 3), tf.float32))
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    operations = tf.compat.v1.profiler.profile(single.graph, cmd="op", options=options).total_float_ops
    return lambda: [np.asarray(concrete(ready)) for _ in range(count // BATCH)], float(operations)


def peak_round() -> tuple[Callable[[], object], float]:
    """A product of large float32 matrices, and its floating-point operations."""
    side = 8192 if has_card() else 2048
    tf = tensorflow()
    one = tf.constant(np.random.default_rng(1).random((side, side), np.float32))
    return lambda: tf.matmul(one, one).numpy(), 2.0 * side**3


def measure(handle: str, pictures: list[np.ndarray], repeat: int, workers: int) -> None:
    prepare_extractor(handle, None, print)
    extractor = open_extractor(handle)
    count = len(pictures)
    with ThreadPoolExecutor(workers) as pool:
        keras_work, operations = keras_round(handle, count)
        peak_work, peak_operations = peak_round()
        rounds = {
            "embed": embed_round(extractor, pictures, pool),
            "bare": bare_round(extractor, count, pool, workers),
            "Keras at 32": keras_work,
            "peak": peak_work,
        }
        for work in rounds.values():
            work()  # once for nothing: traces, interpreters
        costs: dict[str, list[Cost]] = {name: [] for name in rounds}
        for _ in range(repeat):
            for name, work in rounds.items():
                costs[name].append(cost(work))
    print(f"{handle}: {type(extractor).__name__}, batch {extractor.batch}, {operations / 1e9:.2f} GFLOP a picture")
    for clock in ("wall", "cpu"):
        seconds = {name: statistics.median(getattr(each, clock) for each in found) for name, found in costs.items()}
        peak = peak_operations / seconds.pop("peak")
        shown = ", ".join(f"{name} {value / count * 1e3:.1f}" for name, value in seconds.items())
        print(
            f"  {clock} ms a picture: {shown}; embed is {seconds['bare'] / seconds['embed']:.2f} of bare and "
            f"{seconds['Keras at 32'] / seconds['embed']:.2f} of Keras at 32; "
            f"{operations * count / seconds['embed'] / peak:.2f} of the peak of {peak / 1e9:.0f} GFLOP a second"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("handles", nargs="*", default=[DEFAULT_EXTRACTOR])
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    pictures = sample_pictures(options.pictures)
    print(f"{datetime.date.today()}, {device_name()}")
    for handle in options.handles:
        measure(handle, pictures, options.repeat, Settings().worker_count)


if __name__ == "__main__":
    main()
