"""The tasks of `combination.py`: a shop with scenes made of its pictures, and answers to them under penalties.

A scene is three products of different categories pasted on white, detected and embedded as a photo would be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import pyarrow as pa

from vetrina.detection.crops import WHOLE as WHOLE_BOX
from vetrina.detection.crops import Box, Selection, cut
from vetrina.detection.detector import Detector
from vetrina.embedding.extractor import Extractor
from vetrina.evaluation.metrics import average_precision_at_k, precision_at_k, recall_at_k
from vetrina.index.projection import Moments, Projection, to_index_space, unit_rows
from vetrina.index.sources import IndexItems
from vetrina.pictures.decoding import decode_picture
from vetrina.search.attributes import attributes_of
from vetrina.store import Store, blob_path

NEVER = np.inf
WHOLE_ONLY = (NEVER, NEVER)
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
        np.array([head_noun(attributes[key].get("name", key)) for key in ids]),
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
