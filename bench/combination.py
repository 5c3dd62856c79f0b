"""How whole pictures and crops combine, and what the projection costs: quality over a shop that has been embedded.

    .venv/bin/vetrina demo
    .venv/bin/python bench/combination.py [--store FOLDER]

Products need the attributes `category` and `name`. The products are split in two shops that share no picture; the
penalties are chosen on the first and reported on the second. Scenes are three products of different categories
pasted on white, detected and embedded as a photo would be.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import cv2
import numpy as np
import pyarrow as pa

from orchestration.deployment import Deployment
from vetrina.detection.crops import WHOLE as WHOLE_BOX
from vetrina.detection.crops import Box, Selection, cut
from vetrina.detection.detector import Detector
from vetrina.embedding.extractor import Extractor
from vetrina.evaluation.metrics import average_precision_at_k, precision_at_k, recall_at_k
from vetrina.index.projection import Moments, Projection, to_index_space, unit_rows
from vetrina.index.sources import IndexItems
from vetrina.pictures.decoding import decode_picture
from vetrina.search.window import attributes_of
from vetrina.settings import Settings
from vetrina.store import Store, blob_path

GRID = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
NEVER = np.inf
WHOLE_ONLY = (NEVER, NEVER)
SEED = 17
ALLOWED_LOSS = 0.005
Pair = tuple[float, float]


@dataclass(frozen=True)
class Pile:
    """Items of things (products or scenes), those of a thing together: kind 0 whole, 1 crop."""

    owner: np.ndarray  # int [n], ascending, every thing present
    kind: np.ndarray  # uint8 [n]
    area: np.ndarray  # float [n]
    vectors: np.ndarray  # float [n, d]

    def __len__(self) -> int:
        return int(self.owner[-1]) + 1

    def rows(self, keep: np.ndarray) -> Pile:
        return Pile(self.owner[keep], self.kind[keep], self.area[keep], self.vectors[keep])

    def only(self, things: np.ndarray) -> Pile:
        kept = self.rows(np.isin(self.owner, things))
        return replace(kept, owner=np.unique(kept.owner, return_inverse=True)[1])

    def crops_where(self, keep: np.ndarray) -> Pile:
        return self.rows((self.kind == 0) | keep)

    @cached_property
    def crops_of_picture(self) -> np.ndarray:
        """How many crops the thing of each row has."""
        return np.bincount(self.owner, weights=self.kind)[self.owner]

    def __add__(self, other: Pile) -> Pile:
        owner = np.concatenate([self.owner, other.owner + len(self)])
        columns = ((getattr(self, name), getattr(other, name)) for name in ("kind", "area", "vectors"))
        return Pile(owner, *(np.concatenate(pair) for pair in columns))


@dataclass(frozen=True)
class Shop:
    """Products and what is known of them, and scenes composed of them."""

    items: Pile
    category: np.ndarray
    noun: np.ndarray
    sha256: np.ndarray  # of each product's picture
    scenes: Pile | None = None
    perfect: Pile | None = None  # the scenes with the boxes as pasted
    parts: np.ndarray | None = None  # int [scenes, 3]: products


# Spaces


@dataclass(frozen=True)
class Space:
    """From the extractor's vectors to those compared; `dims` None: the extractor's own."""

    dims: int | None = 128
    root: bool = False
    centred: bool = True

    def __str__(self) -> str:
        name = f"centred PCA, {self.dims} dims" if self.dims else "centred, 1280 dims" if self.centred else "1280 dims"
        return f"square root, {name}" if self.root else name

    def fit(self, vectors: np.ndarray) -> Projection | None:
        if not self.centred and self.dims is None:
            return None
        units = unit_rows(self.before(vectors))
        if self.dims is None:
            return Projection(units.mean(axis=0), np.eye(units.shape[1]), 1.0)
        moments = Moments(units.shape[1])
        moments.add(units)
        projection = moments.projection(self.dims)
        assert projection is not None
        return projection

    def before(self, vectors: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(vectors, 0.0)) if self.root else vectors

    def move(self, shop: Shop) -> Shop:
        """The shop in this space, fitted on its own items as a build does."""
        projection = self.fit(shop.items.vectors)

        def moved(pile: Pile | None) -> Pile | None:
            if pile is None:
                return None
            return replace(pile, vectors=to_index_space(self.before(pile.vectors), projection))

        items = moved(shop.items)
        assert items is not None
        return replace(shop, items=items, scenes=moved(shop.scenes), perfect=moved(shop.perfect))


INDEX_SPACE = Space()
RAW = Space(None, centred=False)


# Scores and ranks


class Scores:
    """Scores of queries against things for any penalties: best cosines by pair of kinds, kept apart."""

    def __init__(self, queries: Pile, things: Pile) -> None:
        cosines = queries.vectors @ things.vectors.T
        mixed = queries.kind[:, None] + things.kind[None, :]
        rows = np.flatnonzero(np.diff(queries.owner, prepend=-1))
        columns = np.flatnonzero(np.diff(things.owner, prepend=-1))
        self.best = [
            np.maximum.reduceat(
                np.maximum.reduceat(np.where(mixed == crops, cosines, -np.inf), rows, axis=0), columns, axis=1
            )
            for crops in (0, 1, 2)
        ]

    def at(self, pair: Pair) -> np.ndarray:
        whole, mixed, crops = self.best
        return np.maximum(whole, np.maximum(mixed - pair[0], crops - pair[1]))


def hits(scores: np.ndarray, relevant: np.ndarray, hidden: np.ndarray) -> Iterator[tuple[list[bool], int]]:
    """Of every query with something relevant: what of its first ten is, and how much there was."""
    relevant = relevant & ~hidden
    order = np.argsort(-np.where(hidden, -np.inf, scores), axis=1, kind="stable")[:, :10]
    found = np.take_along_axis(relevant, order, axis=1)
    for row, total in zip(found.tolist(), relevant.sum(axis=1).tolist(), strict=True):
        if total:
            yield row, total


class Tasks:
    """Every measure of a shop in one space, per query: {name: {measure: float [queries]}}."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        items = shop.items
        products = len(items)
        itself = np.eye(products, dtype=bool)
        same = {name: of[:, None] == of[None, :] for name, of in (("category", shop.category), ("noun", shop.noun))}
        alone = Scores(items, items)
        self._tasks: dict[str, tuple[Scores, np.ndarray, np.ndarray]] = {
            f"single/{name}": (alone, like, itself) for name, like in same.items()
        }
        if shop.scenes is None or shop.parts is None:
            return
        pasted = np.zeros((len(shop.scenes), products), bool)
        pasted[np.arange(len(pasted))[:, None], shop.parts] = True
        photo = Scores(shop.scenes, items)
        none = np.zeros_like(pasted)
        self._tasks["photo/pasted"] = photo, pasted, none
        for name, like in same.items():
            # Three products vote for what is like them; they themselves would be too easy.
            self._tasks[f"photo/{name}"] = photo, pasted @ like, pasted
        mixed = Scores(items, items + shop.scenes)
        hidden = np.hstack([itself, none.T])
        self._tasks["scene/pasted"] = mixed, np.hstack([none.T @ none, pasted.T]), hidden
        self._tasks["scene/noun"] = mixed, np.hstack([same["noun"], same["noun"] @ pasted.T]), hidden

    def measure(self, pair: Pair) -> dict[str, dict[str, np.ndarray]]:
        made: dict[str, dict[str, np.ndarray]] = {}
        for name, (scores, relevant, hidden) in self._tasks.items():
            answers = list(hits(scores.at(pair), relevant, hidden))
            made[name] = {
                "map": np.array([average_precision_at_k(found, total, 10) for found, total in answers]),
                "accuracy": np.array([precision_at_k(found, 4) for found, _ in answers]),
                "recall": np.array([recall_at_k(found, total, 10) for found, total in answers]),
            }
        return made


COLUMNS = (
    ("single/category", "map"),
    ("single/category", "accuracy"),
    ("single/noun", "map"),
    ("single/noun", "accuracy"),
    ("photo/pasted", "recall"),
    ("photo/pasted", "map"),
    ("photo/noun", "map"),
    ("photo/category", "map"),
    ("scene/pasted", "map"),
    ("scene/noun", "map"),
)
SINGLE = (("single/category", "map"), ("single/noun", "map"))
SCENES = COLUMNS[5:]


def means(measured: dict[str, dict[str, np.ndarray]], columns: tuple[tuple[str, str], ...]) -> list[float]:
    return [float(measured[task][name].mean()) for task, name in columns]


def interval(values: np.ndarray) -> tuple[float, float]:
    """Percentile bootstrap, 95 %, over queries."""
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(values), (2000, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def difference(values: np.ndarray, base: np.ndarray) -> str:
    low, high = interval(values - base)
    return f"{(values - base).mean():+.3f} [{low:+.3f}, {high:+.3f}]"


# The shop and its scenes


def load_shop(store: Store, fingerprint: str) -> Shop:
    table = pa.concat_tables(list(IndexItems(store, fingerprint)())).sort_by(
        [("product_id", "ascending"), ("kind", "descending"), ("score", "descending")]
    )
    ids, owner = np.unique(table["product_id"].to_pylist(), return_inverse=True)
    ymin, xmin, ymax, xmax = (table[side].to_numpy() for side in ("ymin", "xmin", "ymax", "xmax"))
    vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    kind = np.array([name == "crop" for name in table["kind"].to_pylist()], np.uint8)
    items = Pile(owner, kind, (ymax - ymin) * (xmax - xmin), unit_rows(vectors))
    attributes = {key: json.loads(text) for key, text in attributes_of(store, ids.tolist()).items()}
    sha256 = np.array(table["sha256"].to_pylist())[np.flatnonzero(np.diff(owner, prepend=-1))]
    return Shop(
        items,
        np.array([attributes[key]["category"] for key in ids]),
        np.array([head_noun(attributes[key]["name"]) for key in ids]),
        sha256,
    )


def head_noun(name: str) -> str:
    """Last word of a name, lowercased, what is in parentheses dropped."""
    words = re.findall(r"\w+", re.sub(r"\([^)]*\)", " ", name.lower()))
    return words[-1] if words else name.lower()


def part_of(shop: Shop, products: np.ndarray) -> Shop:
    return Shop(shop.items.only(products), shop.category[products], shop.noun[products], shop.sha256[products])


def halves(shop: Shop, seed: int) -> tuple[Shop, Shop]:
    """Two shops without a picture in common."""
    pictures, picture = np.unique(shop.sha256, return_inverse=True)
    first = np.random.default_rng(seed).permutation(len(pictures)) < len(pictures) // 2
    return part_of(shop, np.flatnonzero(first[picture])), part_of(shop, np.flatnonzero(~first[picture]))


def compose(pictures: list[np.ndarray], rng: np.random.Generator, scattered: bool) -> tuple[np.ndarray, list[Box]]:
    """Three pictures trimmed and pasted on white without overlap: the canvas and where they are."""
    height, width = (800, 800) if scattered else (450, 900)
    canvas = np.full((height, width, 3), 255, np.uint8)
    boxes: list[tuple[int, int, int, int]] = []
    for number, picture in enumerate(pictures):
        ink = (picture < 245).any(axis=2)
        ys, xs = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        trimmed = picture[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1] if len(ys) else picture
        side = rng.integers(220, 361) if scattered else rng.integers(220, 281)
        for _ in range(1000):
            scale = side / max(trimmed.shape[:2])
            h, w = (max(1, round(length * scale)) for length in trimmed.shape[:2])
            if scattered:
                top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
            else:
                top, left = (height - h) // 2 + int(rng.integers(-60, 61)), number * 300 + (300 - w) // 2
            box = (top, left, top + h, left + w)
            if all(box[2] <= b[0] or b[2] <= box[0] or box[3] <= b[1] or b[3] <= box[1] for b in boxes):
                break
            side = max(120, side - 1)
        boxes.append(box)
        canvas[box[0] : box[2], box[1] : box[3]] = cv2.resize(trimmed, (w, h), interpolation=cv2.INTER_AREA)
    return canvas, [Box(t / height, left / width, b / height, r / width) for t, left, b, r in boxes]


@dataclass(frozen=True)
class Models:
    store: Store
    detector: Detector
    selection: Selection
    extractor: Extractor

    def with_scenes(self, shop: Shop, count: int, seed: int) -> Shop:
        rng = np.random.default_rng(seed)
        parts = []
        while len(parts) < count:
            drawn = rng.choice(len(shop.items), 3, replace=False)
            if len(set(shop.category[drawn])) == 3:
                parts.append(drawn)

        def see(number: int) -> tuple[list[Box], np.ndarray]:
            pictures = [decode_picture(self.store.read(blob_path(shop.sha256[at]))).pixels for at in parts[number]]
            canvas, true = compose(pictures, np.random.default_rng((seed, number)), scattered=number % 2 == 1)
            found = [crop.box for crop in self.selection.select(self.detector.detect(canvas))]
            boxes = [WHOLE_BOX, *found, *true]
            return boxes, self.extractor.embed([cut(canvas, box) for box in boxes])

        with ThreadPoolExecutor(2) as pool:
            seen = list(pool.map(see, range(count)))
        detected = [(boxes[:-3], vectors[:-3]) for boxes, vectors in seen]
        perfect = [([WHOLE_BOX, *boxes[-3:]], np.vstack([vectors[:1], vectors[-3:]])) for boxes, vectors in seen]
        return replace(shop, scenes=_pile(detected), perfect=_pile(perfect), parts=np.array(parts))


def _pile(things: list[tuple[list[Box], np.ndarray]]) -> Pile:
    return Pile(
        np.repeat(np.arange(len(things)), [len(boxes) for boxes, _ in things]),
        np.concatenate([[0] + [1] * (len(boxes) - 1) for boxes, _ in things]).astype(np.uint8),
        np.array([box.area for boxes, _ in things for box in boxes]),
        unit_rows(np.vstack([vectors for _, vectors in things])),
    )


# Tables


def show(title: str, heads: list[str], rows: list[list[str]]) -> None:
    print(f"\n**{title}**\n")
    for row in (heads, ["---"] * len(heads), *rows):
        print("| " + " | ".join(row) + " |")


HEADS = [f"{task} {'R@10' if name == 'recall' else 'acc@4' if name == 'accuracy' else 'mAP'}" for task, name in COLUMNS]


def pair_name(pair: Pair) -> str:
    return "whole only" if pair == WHOLE_ONLY else f"{pair[0]:g} / {pair[1]:g}"


def figures(values: list[float]) -> list[str]:
    return [f"{value:.3f}" for value in values]


def choose(tasks: Tasks) -> Pair:
    """Of the penalties that cost single shots no more than ALLOWED_LOSS, those that are best on scenes."""
    base = means(tasks.measure(WHOLE_ONLY), SINGLE)
    best, chosen = -1.0, WHOLE_ONLY
    for pair in product(GRID, GRID):
        measured = tasks.measure(pair)
        loss = max(whole - now for whole, now in zip(base, means(measured, SINGLE), strict=True))
        score = float(np.mean(means(measured, SCENES)))
        if loss <= ALLOWED_LOSS and score > best + 1e-9:
            best, chosen = score, pair
    return chosen


def grid_table(title: str, tasks: Tasks) -> None:
    columns = (*SINGLE, *SCENES)
    heads = [f"{task}" for task, _ in columns]
    rows = [
        [pair_name(pair), *figures(means(tasks.measure(pair), columns))] for pair in [WHOLE_ONLY, *product(GRID, GRID)]
    ]
    show(title, ["mixed / crop–crop", *heads], rows)


def report(title: str, tasks: Tasks, pairs: list[Pair]) -> None:
    """The figures of some penalties with what they differ from whole pictures only."""
    base = tasks.measure(WHOLE_ONLY)
    columns = [column for column in COLUMNS if column[0] in base]
    rows = []
    for pair in pairs:
        measured = tasks.measure(pair)
        rows.append([pair_name(pair), *figures(means(measured, tuple(columns)))])
    show(title, ["mixed / crop–crop", *HEADS[: len(columns)]], rows)
    rows = []
    for task, name in columns:
        low, high = interval(base[task][name])
        cells = [f"{base[task][name].mean():.3f} [{low:.3f}, {high:.3f}]"]
        cells += [difference(tasks.measure(pair)[task][name], base[task][name]) for pair in pairs[1:]]
        rows.append([f"{task} {name}", *cells])
    show(f"{title}: less whole only, 95 % intervals", ["", *map(pair_name, pairs)], rows)


def spaces_table(title: str, shop: Shop) -> None:
    """Single shots in every space, by whole pictures only, as differences from the plain cosine."""
    spaces = [RAW, Space(None), *(Space(dims) for dims in (32, 64, 100, 128, 150, 200, 256))]
    spaces += [Space(None, root=True, centred=False), *(Space(dims, root=True) for dims in (64, 100, 128, 150, 200))]
    base = Tasks(RAW.move(shop)).measure(WHOLE_ONLY)
    rows = []
    for space in spaces:
        measured = Tasks(space.move(shop)).measure(WHOLE_ONLY)
        cells = []
        for task, name in COLUMNS[:4]:
            cells.append(f"{measured[task][name].mean():.3f}")
            cells.append("" if space == RAW else difference(measured[task][name], base[task][name]))
        rows.append([str(space), *cells])
    heads = [cell for head in HEADS[:4] for cell in (head, "less plain cosine")]
    show(title, ["space", *heads], rows)


def scene_spaces_table(title: str, first: Shop, second: Shop) -> None:
    """All tasks in some spaces with crops, as differences from the plain cosine."""
    spaces = (RAW, INDEX_SPACE, Space(256), Space(None), Space(128, root=True), Space(None, root=True, centred=False))
    pairs = {space: choose(Tasks(space.move(first))) for space in spaces}
    made = {space: Tasks(space.move(second)).measure(pairs[space]) for space in spaces}
    rows = []
    for task, name in COLUMNS:
        values = [made[space][task][name] for space in spaces]
        rows.append([f"{task} {name}", f"{values[0].mean():.3f}", *(difference(v, values[0]) for v in values[1:])])
    show(title, ["", *(f"{space} ({pair_name(pairs[space])})" for space in spaces)], rows)


def rules_table(title: str, shop: Shop, pairs: list[Pair]) -> None:
    """What becomes of the figures when only some crops count."""

    def kept(pile: Pile | None, rule: str) -> Pile | None:
        if pile is None:
            return None
        keep = {
            "all crops": np.ones(len(pile.area), bool),
            "area < 0.5": pile.area < 0.5,
            "area ≥ 0.5": pile.area >= 0.5,
            "area ≥ 0.1": pile.area >= 0.1,
            "pictures with two crops or more": pile.crops_of_picture >= 2,
        }[rule]
        return pile.crops_where(keep)

    rows = []
    rules = ("all crops", "area < 0.5", "area ≥ 0.5", "area ≥ 0.1", "pictures with two crops or more")
    for rule, pair in product(rules, pairs):
        items = kept(shop.items, rule)
        assert items is not None
        measured = Tasks(replace(shop, items=items, scenes=kept(shop.scenes, rule))).measure(pair)
        rows.append([rule, pair_name(pair), *figures(means(measured, COLUMNS))])
    perfect = Tasks(replace(shop, scenes=shop.perfect))
    for pair in pairs:
        rows.append(["scenes by the true boxes", pair_name(pair), *figures(means(perfect.measure(pair), COLUMNS))])
    show(title, ["crops that count", "penalties", *HEADS], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="instead of VETRINA_STORE")
    parser.add_argument("--scenes", type=int, default=200, help="scenes of each half")
    parser.add_argument("--seed", type=int, default=SEED, help="of the halves and the scenes")
    parser.add_argument("--choice-only", action="store_true", help="stop after the choice of penalties")
    parser.add_argument("--grid", action="store_true", help="print every penalty, not only the telling ones")
    options = parser.parse_args()
    started = time.perf_counter()
    settings = Settings.from_environment()
    if options.store:
        settings = replace(settings, store=options.store)
    deployment = Deployment(settings)
    detector, extractor = deployment.detector.open(), deployment.extractor.open()
    models = Models(deployment.store, detector, deployment.detector.selection(), extractor)
    shop = load_shop(deployment.store, deployment.extractor.embeddings_fingerprint(deployment.detector))
    crops = int(shop.items.kind.sum())
    classes = f"{len(set(shop.category))} categories, {len(set(shop.noun))} nouns"
    print(f"{len(shop.items)} products, {crops} crops; {classes}")
    spaces_table("Whole pictures, leave one out, the whole shop", shop)

    first, second = halves(shop, options.seed)
    first = models.with_scenes(first, options.scenes, options.seed)
    second = models.with_scenes(second, options.scenes, options.seed + 1)
    for half in (first, second):
        assert half.scenes is not None
        print(f"\n{len(half.items)} products, {len(half.scenes)} scenes with {int(half.scenes.kind.sum())} crops found")
    tasks = Tasks(INDEX_SPACE.move(first))
    pair = choose(tasks)
    print(f"\n{INDEX_SPACE}: chosen on the first half: {pair_name(pair)}")
    if options.grid:
        grid_table(f"{INDEX_SPACE}, first half (choice)", tasks)
    told = Tasks(INDEX_SPACE.move(second))
    pairs = list(dict.fromkeys([WHOLE_ONLY, (0.0, 0.0), pair, (0.1, 0.1), (0.2, 0.2), (0.3, 0.3)]))
    report(f"{INDEX_SPACE}, second half (report)", told, pairs)
    print(f"\nThe second half alone would have chosen {pair_name(choose(told))}")
    if options.choice_only:
        return
    report(f"{INDEX_SPACE}, the whole shop", Tasks(INDEX_SPACE.move(shop)), [WHOLE_ONLY, (0.0, 0.0), pair])
    scene_spaces_table("Spaces, second half, each with the penalties chosen on the first", first, second)
    moved = INDEX_SPACE.move(first)
    rules_table(f"{INDEX_SPACE}, first half: which crops count", moved, [(0.0, 0.0), (0.1, 0.1), pair])
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
