"""Near-duplicates: how many copies of a shop's pictures are found, and which other pictures are taken for copies.

    .venv/bin/vetrina demo
    .venv/bin/python bench/duplicates.py [--pictures N] [--products N]

Pictures drawn from the shop are encoded again and resized in several ways, embedded as the index would, and compared
with the whole shop under the limits of `vetrina.search.duplicates`. `--products` also times the search for groups
over so many made-up products.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from orchestration.deployment import Deployment
from vetrina.index.projection import to_index_space
from vetrina.pictures.decoding import decode_picture
from vetrina.pictures.likeness import DEFAULT_LIMITS
from vetrina.pictures.prints import GRID, Prints, cell_differences, differing_bits, print_of, prints_of
from vetrina.search.answers import Products
from vetrina.search.duplicates import find_groups
from vetrina.settings import Settings

SEED = 5
Way = Callable[[np.ndarray], np.ndarray]


def encoded(form: str, quality: int, scale: float = 1.0) -> Way:
    def again(pixels: np.ndarray) -> np.ndarray:
        height, width = (max(16, round(side * scale)) for side in pixels.shape[:2])
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        stream = io.BytesIO()
        Image.fromarray(cv2.resize(pixels, (width, height), interpolation=how)).save(stream, form, quality=quality)
        return decode_picture(stream.getvalue()).pixels

    return again


def cropped(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    return pixels[height // 50 : height - height // 50, width // 50 : width - width // 50].copy()


WAYS: dict[str, Way] = {
    "JPEG 90": encoded("JPEG", 90),
    "JPEG 75": encoded("JPEG", 75),
    "JPEG 50": encoded("JPEG", 50),
    "JPEG 30": encoded("JPEG", 30),
    "WebP 80": encoded("WEBP", 80),
    "half the size": encoded("PNG", 0, 0.5),
    "half, JPEG 80": encoded("JPEG", 80, 0.5),
    "0.7, WebP 75": encoded("WEBP", 75, 0.7),
    "double, JPEG 85": encoded("JPEG", 85, 2.0),
    "2 % cut off each side (no copy)": cropped,
    "mirrored (no copy)": lambda pixels: pixels[:, ::-1].copy(),
}


def sample_shop(count: int) -> None:
    deployment = Deployment(Settings.from_environment())
    window = deployment.window()
    extractor = deployment.extractor.open(deployment.store)
    products = window.engine.everything()
    prints, _ = prints_of(window.store, products.sha256, workers=2)
    pairs = len(products.sha256) * (len(products.sha256) - 1) // 2
    print(f"{len(products.sha256)} products, {pairs} pairs; {DEFAULT_LIMITS}")
    for group in find_groups(products, prints):
        print(f"  taken for one picture: {', '.join(group.product_ids)}")
    drawn = np.sort(np.random.default_rng(SEED).choice(len(products.sha256), count, replace=False))
    print(f"\n| {count} pictures | found | lowest cosine | most bits | largest cell | largest spread |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, way in WAYS.items():
        pixels = [way(window.picture(products.sha256[place])) for place in drawn]
        vectors = to_index_space(extractor.embed(pixels), window.index.projection)
        cosines = (vectors * products.vectors[drawn]).sum(axis=1)
        made = [print_of(one) for one in pixels]
        bits = np.diag(differing_bits(np.array([code for code, _ in made], np.uint64), prints.hashes[drawn]))
        cell, spread = cell_differences(np.stack([cells for _, cells in made]), prints.cells[drawn])
        limits = DEFAULT_LIMITS
        found = (cosines >= limits.cosine) & (bits <= limits.bits) & (cell <= limits.cell) & (spread <= limits.spread)
        print(
            f"| {name} | {found.mean():.3f} | {cosines.min():.2f} | {bits.max()} | {cell.max():.1f} "
            f"| {spread.max():.1f} |"
        )


def made_up(count: int) -> None:
    rng = np.random.default_rng(SEED)
    vectors = rng.standard_normal((count, 128)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    hashes = rng.integers(0, 2**64, count, np.uint64, endpoint=False)
    cells = rng.integers(0, 255, (count, GRID, GRID, 3), np.uint8)
    ids = [f"{number:07d}" for number in range(count)]
    prints = Prints(np.ones(count, bool), hashes, cells)
    started = time.process_time()
    find_groups(Products(ids, ids, [None] * count, vectors), prints)
    print(f"\n{count} made-up products: {time.process_time() - started:.1f} CPU-s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=300, help="drawn from the shop")
    parser.add_argument("--products", type=int, default=0, help="also time this many made-up products")
    options = parser.parse_args()
    sample_shop(options.pictures)
    if options.products:
        made_up(options.products)


if __name__ == "__main__":
    main()
