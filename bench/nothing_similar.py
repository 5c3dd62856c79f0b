"""Can "nothing similar" be told? Rules against pictures of another world, categories left out, and altered products.

    .venv/bin/vetrina demo
    .venv/bin/python bench/nothing_similar.py CLOTHING     # a folder with catalog.csv: id, path, category

Every rule gives a figure that is high for what the shop has. Its threshold leaves the share SHARE of the shop's own
products below, each asked of a shop and a projection without it (four folds). Said is the share of queries below it:
wanted high of strange pictures, low of altered pictures of products that the shop has something like.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from orchestration.deployment import Deployment
from vetrina.embedding.extractor import open_extractor
from vetrina.index.familiarity import NTH, likeness
from vetrina.index.projection import Moments, to_index_space, unit_rows
from vetrina.index.sources import IndexItems
from vetrina.pictures.decoding import decode_picture
from vetrina.search.attributes import attributes_of
from vetrina.settings import Settings

SEED, FOLDS, ALTERED = 5, 4, 160
SHARE = 0.02
UNLIKE = ("Characters", "Vehicles")  # the shop's categories that nothing in the others is like
Figures = dict[str, np.ndarray]


def figures(shop: np.ndarray, asking: np.ndarray) -> Figures:
    """Each rule's figure for queries, of a shop that has none of them; both float32 [n, D]."""
    moments = Moments(shop.shape[1])
    moments.add(unit_rows(shop))
    space = moments.projection(128)
    assert space is not None
    left, right = (to_index_space(vectors, space).astype(np.float64) for vectors in (asking, shop))
    scores = left @ right.T
    order = np.argsort(-scores, axis=1)
    best = np.take_along_axis(scores, order, axis=1)
    among = right @ right.T
    np.fill_diagonal(among, -np.inf)
    own = -np.sort(-among, axis=1)
    units, goods = unit_rows(asking), unit_rows(shop)
    centred = units - space.mean
    kept = np.square(centred @ space.components).sum(axis=1)
    length = float(np.linalg.norm((goods - space.mean) @ space.components, axis=1).mean())
    tenth = best[:, NTH - 1]
    return {
        "best score": best[:, 0],
        "10th score": tenth,
        "z of the 10th": (tenth - scores.mean(axis=1)) / scores.std(axis=1),
        "10 results by their own 10th": (best[:, :NTH] - own[order[:, :NTH], NTH - 1]).mean(axis=1),
        "near the mean": -np.square(centred).sum(axis=1),
        "kept by the projection": kept - np.square(centred).sum(axis=1),
        "raw cosine of the 10th": -np.sort(-(units @ goods.T), axis=1)[:, NTH - 1],
        "likeness (built in)": likeness(asking, tenth, space, length),
    }


def held_out(vectors: np.ndarray) -> Figures:
    """The figures of a shop's own products, a fold at a time."""
    fold = np.random.default_rng(SEED).permutation(len(vectors)) % FOLDS
    parts = [figures(vectors[fold != held], vectors[fold == held]) for held in range(FOLDS)]
    return {rule: np.concatenate([part[rule] for part in parts]) for rule in parts[0]}


def left_out(vectors: np.ndarray, categories: np.ndarray) -> Figures:
    """The figures of each category asked of a shop without it."""
    names = [name for name in sorted(set(categories)) if (categories == name).sum() >= 20]
    parts = [figures(vectors[categories != name], vectors[categories == name]) for name in names]
    return {rule: np.concatenate([part[rule] for part in parts]) for rule in parts[0]}


def auc(own: np.ndarray, strange: np.ndarray) -> float:
    """Share of pairs in which the shop's own product has more."""
    return float((own[:, None] > strange[None]).mean())


def show(title: str, own: Figures, sets: dict[str, Figures]) -> None:
    print(f"\n{title}: {len(next(iter(own.values())))} products of its own\n")
    print(f"| rule | {' | '.join(f'{name} ({len(next(iter(found.values())))})' for name, found in sets.items())} |")
    print("| --- |" + " --- |" * len(sets))
    for rule, values in own.items():
        least = np.quantile(values, SHARE)
        cells = [f"{(found[rule] < least).mean():.2f} (AUC {auc(values, found[rule]):.2f})" for found in sets.values()]
        print(f"| {rule} | {' | '.join(cells)} |")


def on_background(pixels: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """The product, cut out of its white ground, before a piece of a photo."""
    cut = cv2.GaussianBlur((pixels.min(axis=2) < 243).astype(np.float32), (3, 3), 0)[..., None]
    return (pixels * cut + cv2.resize(behind, pixels.shape[1::-1]) * (1 - cut)).astype(np.uint8)


def phone(pixels: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Before a photo's background, turned by ten degrees, darker."""
    height, width = pixels.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 10, 1)
    turned = cv2.warpAffine(on_background(pixels, behind), turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return (turned * 0.85).astype(np.uint8)


WAYS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "as they are": lambda pixels, behind: pixels,
    "darker": lambda pixels, behind: (pixels * 0.6).astype(np.uint8),
    "on a real background": on_background,
    "the same, turned and darker": phone,
}


def main(clothing: Path) -> None:
    """Print the tables."""
    window = Deployment(Settings.from_environment()).window()
    products = window.engine.everything()
    texts = attributes_of(window.store, products.product_ids)
    found = {}
    for table in IndexItems(window.store, window.index.manifest.fingerprints["embeddings"])():
        flat = table["vector"].combine_chunks().flatten().to_numpy()  # type: ignore[attr-defined]
        rows = zip(
            table["product_id"].to_pylist(), table["kind"].to_pylist(), flat.reshape(len(table), -1), strict=True
        )
        found |= {name: vector for name, kind, vector in rows if kind == "whole"}
    home = np.array([found[name] for name in products.product_ids])
    categories = np.array([json.loads(texts[name]).get("category", "") for name in products.product_ids])
    extractor = open_extractor()
    with (clothing / "catalog.csv").open() as handle:
        listed = list(csv.DictReader(handle))
    photos = [decode_picture((clothing / row["path"]).read_bytes()).pixels for row in listed]
    clothes = np.vstack([extractor.embed([photo]) for photo in photos])
    kinds = np.array([row["category"] for row in listed])

    rng = np.random.default_rng(SEED)
    chosen = np.sort(rng.choice(len(home), ALTERED, replace=False))
    others = np.setdiff1d(np.arange(len(home)), chosen)
    corners = [photo[: photo.shape[0] // 5, : photo.shape[1] // 3] for photo in photos[:: len(photos) // 40]]
    pictures = [window.picture(products.sha256[place]) for place in chosen]
    altered = {
        name: np.vstack([extractor.embed([way(p, corners[at % len(corners)])]) for at, p in enumerate(pictures)])
        for name, way in WAYS.items()
    }
    unlike = np.isin(categories, UNLIKE)
    show(
        "Homeware",
        held_out(home),
        {
            "clothes": figures(home, clothes),
            "characters, vehicles left out": figures(home[~unlike], home[unlike]),
            "each category left out": left_out(home, categories),
        },
    )
    show(
        f"Homeware without {ALTERED} products, which ask",
        held_out(home[others]),
        {name: figures(home[others], vectors) for name, vectors in altered.items()},
    )
    show(
        "Clothes",
        held_out(clothes),
        {"homeware": figures(clothes, home), "each category left out": left_out(clothes, kinds)},
    )
    strange = np.isin(kinds, ("shoes", "hat"))
    both = np.vstack([home[~unlike], clothes[~strange]])
    show(
        "Homeware and clothes in one shop",
        held_out(both),
        {"characters, vehicles": figures(both, home[unlike]), "shoes, hats": figures(both, clothes[strange])},
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
