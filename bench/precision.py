"""What int8 and float16 cost and save: the bundled extractors on the sample shop, leave one out.

    .venv/bin/vetrina demo
    PYTHONPATH=. .venv/bin/python bench/precision.py

Whole pictures, plain cosine of the extractor's vectors, without an index: nothing but the vectors differs. Times are
CPU time of one thread for `embed` (letterbox, network, normalisation), so other work on the machine matters little.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np

from orchestration.sample_shop import get_sample_shop
from vetrina.embedding.extractor import identify_extractor, open_extractor, prepare_extractor
from vetrina.embedding.lite_keras import NETWORKS
from vetrina.embedding.on_litert import model_file
from vetrina.embedding.precision import FLOAT32, PRECISIONS
from vetrina.evaluation.metrics import mean_average_precision_at_k
from vetrina.pictures.decoding import decode_picture

FOLDER = Path(".demo")
K = 10


def shop() -> tuple[list[np.ndarray], np.ndarray]:
    """The sample shop's pictures, and the category of each."""
    pictures, categories = [], []
    for catalog in get_sample_shop(FOLDER):
        for row in csv.DictReader(catalog.open(encoding="utf-8")):
            pictures.append(decode_picture((catalog.parent / row["path"]).read_bytes()).pixels)
            categories.append(row["category"])
    return pictures, np.array(categories)


def embed(handle: str, pictures: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """The vectors, and the median CPU milliseconds of a picture."""
    prepare_extractor(handle, None, lambda line: None)
    extractor = open_extractor(handle)
    extractor.embed(pictures[:5])
    vectors, seconds = [], []
    for pixels in pictures:
        began = time.thread_time()
        vectors.append(extractor.embed([pixels]))
        seconds.append(time.thread_time() - began)
    return np.concatenate(vectors), float(np.median(seconds)) * 1000


def nearest(vectors: np.ndarray) -> np.ndarray:
    """Row numbers of the K nearest others of each, best first."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :K]


def mean_average_precision(found: np.ndarray, categories: np.ndarray) -> float:
    """mAP@K by category; a category of one product asks nothing."""
    others = [int((categories == category).sum()) - 1 for category in categories]
    hits = categories[found] == categories[:, None]
    return mean_average_precision_at_k([(row, many) for row, many in zip(hits, others, strict=True) if many], K)


def main() -> None:
    pictures, categories = shop()
    print("| | mAP@10 by category | top 10 as in float32 | cosine: median, lowest | CPU ms a picture | file |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in NETWORKS:
        for precision in PRECISIONS:
            handle = f"bundled:{name}#precision={precision}"
            vectors, milliseconds = embed(handle, pictures)
            found = nearest(vectors)
            if precision == FLOAT32:
                exact, right = vectors, found
            same = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, right, strict=True)])
            cosines = (vectors * exact).sum(axis=1)
            size = model_file(identify_extractor(handle).fingerprint).stat().st_size / 1e6
            print(
                f"| {name} {precision} | {mean_average_precision(found, categories):.4f} | {same:.3f} "
                f"| {np.median(cosines):.4f}, {cosines.min():.4f} | {milliseconds:.1f} | {size:.1f} MB |"
            )


if __name__ == "__main__":
    main()
