"""How many dimensions should an index keep? Agreement of the neighbours, share of the variance, and quality.

    .venv/bin/vetrina demo
    PYTHONPATH=. .venv/bin/python bench/dimensions.py vetrina-store [ANOTHER-STORE ...]

Products need the attribute `category`, and `name` for the measure by noun. Leave one out over products with their crops
under the default penalties; each shop, its halves without a picture in common, and small parts of it drawn at random.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from combination_tasks import Shop, Tasks, halves, load_shop, part_of

from vetrina.evaluation.intervals import micro
from vetrina.index.dimensions import candidates, choose_dims
from vetrina.index.projection import Moments, Projection, to_index_space
from vetrina.index.settings import IndexSettings
from vetrina.index.versions import current, verify
from vetrina.store import Store

SEED = 5
PARTS = (120, 200, 300)
DEFAULTS = IndexSettings()
PENALTIES = (DEFAULTS.crop_penalty, DEFAULTS.crop_crop_penalty or DEFAULTS.crop_penalty)
TASKS = ("single/category", "single/noun")


def quality(shop: Shop, projection: Projection | None) -> list[np.ndarray]:
    """mAP@10 of every query, for each task."""
    moved = replace(shop.items, vectors=to_index_space(shop.items.vectors, projection))
    measured = Tasks(replace(shop, items=moved)).measure(PENALTIES)
    return [measured[task]["map"] for task in TASKS]


def cell(values: np.ndarray, base: np.ndarray) -> str:
    if len(values) < 20:
        return "–"
    (found,) = micro((values - base)[:, None], resamples=1000, seed=SEED)
    return f"{values.mean():.3f} ({found.value:+.4f} [{found.low:+.3f}, {found.high:+.3f}])"


def parts_of(name: str, shop: Shop) -> Iterator[tuple[str, Shop]]:
    yield name, shop
    for number, half in enumerate(halves(shop, SEED), 1):
        yield f"{name}, half {number}", half
    for size in PARTS:
        drawn = np.random.default_rng(SEED).choice(len(shop.items), size, replace=False)
        yield f"{name}, {size} products", part_of(shop, np.sort(drawn))


def table(title: str, shop: Shop) -> None:
    vectors = shop.items.vectors
    count, raw_dims = vectors.shape
    moments = Moments(raw_dims)
    moments.add(vectors)
    sizes = candidates(count, raw_dims)
    projections = moments.projections(sizes)
    asked = np.random.default_rng(SEED).permutation(count)[: DEFAULTS.recall_sample]
    choice = choose_dims([vectors], vectors[asked], projections, count, DEFAULTS.recall_k)
    fixed = projections[sizes.index(128)] if 128 in sizes else None
    base = quality(shop, fixed)
    print(
        f"\n**{title}**: {len(shop.items)} products, {count} items; differences from {'128' if fixed else 'all'} dims\n"
    )
    print("| dims | variance kept | agreement (lower 95 %) | " + " | ".join(f"{task} mAP" for task in TASKS) + " |")
    print("| --- " * (3 + len(TASKS)) + "|")
    for projection, tried in zip(projections, choice.frontier, strict=True):
        cells = [cell(values, other) for values, other in zip(quality(shop, projection), base, strict=True)]
        name = f"**{tried.dims}**" if projection is choice.projection else str(tried.dims)
        figures = f"{tried.variance_kept:.3f} | {tried.agreement:.3f} ({tried.lower:.3f})"
        print(f"| {name} | {figures} | {' | '.join(cells)} |")
    cells = [cell(values, other) for values, other in zip(quality(shop, None), base, strict=True)]
    print(f"| all, not centred | | | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+")
    for root in parser.parse_args().stores:
        store = Store(root)
        published = current(store)
        if published is None:
            raise SystemExit(f"{root} holds no index")
        manifest = verify(store, published)
        shop = load_shop(store, manifest.fingerprints["embeddings"])
        for title, part in parts_of(f"{root} ({manifest.extractor})", shop):
            table(title, part)


if __name__ == "__main__":
    main()
