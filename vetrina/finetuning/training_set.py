"""The training set: which products of the shop teach an extractor, under which labels, and which are held out.

Taken from what can be searched now, so it needs a published index. Near-duplicates share a group, and a group is
never on both sides: what looks just like a held-out product is not learnt from. Belongs here: the choice, its table
in the store, and the pictures behind it. Does not belong here: the split of what is learnt from into training and
validation, which training makes by these groups.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from vetrina.detection.crops import WHOLE, Box, cut
from vetrina.embedding.preprocessing import letterbox
from vetrina.errors import NotFound, PictureError, SettingError
from vetrina.evaluation.evaluation import NO_LABEL
from vetrina.evaluation.labels import DETECTED, Condition, labels_of, matching, parse_condition
from vetrina.finetuning.plan import Example
from vetrina.models import fingerprint_of
from vetrina.pictures.collecting import Progress
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.prints import prints_of
from vetrina.search.attributes import attributes_of, parse_attributes
from vetrina.search.duplicates import find_groups
from vetrina.search.window import ShopWindow
from vetrina.store import Store, blob_path
from vetrina.tables import TRAINING_SET, read_metadata, read_rows, write_table

LEARN, HELD_OUT, LEFT_OUT = "learn", "held out", "left out"
LIKE_HELD_OUT = "shows the same picture as a held-out product"


@dataclass(frozen=True, slots=True)
class Request:
    """What to learn.

    Attributes:
        label: name of the catalog attribute that is learnt, or `detected`.
        split: ATTRIBUTE=VALUE of the products that are held out for the report; empty: training holds some out.
    """

    label: str
    split: str = ""

    @property
    def path(self) -> str:
        """Where the training set of just this request lies in the store."""
        return f"training_sets/{fingerprint_of(asdict(self))}.parquet"

    def condition(self) -> Condition | None:
        """The split as a condition. Raises SettingError."""
        return parse_condition(self.split, "--split") if self.split else None


@dataclass(frozen=True, slots=True)
class Member:
    """A product and what becomes of it.

    Attributes:
        sha256, box: its picture, and the part of it that is looked at.
        label: None where it has none.
        group: id of the first product that shows the same.
        part: learn, held out or left out; `reason` says why it was left out.
    """

    product_id: str
    sha256: str
    box: Box
    label: str | None
    group: str
    part: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """All products of the shop, in the order of their ids, for one request; `index` is the version they are from."""

    request: Request
    members: list[Member]
    index: str

    @property
    def digest(self) -> str:
        """Changes with every product, picture, label or group that training sees."""
        digest = hashlib.sha256(json.dumps(asdict(self.request)).encode())
        for one in self.members:
            if one.part != LEFT_OUT:
                content = [
                    one.product_id,
                    one.sha256,
                    [f"{side:.5f}" for side in one.box],
                    one.label,
                    one.group,
                    one.part,
                ]
                digest.update(json.dumps(content).encode())
        return digest.hexdigest()

    def counts(self) -> dict[str, int]:
        """What → how many products: learnt from, held out, and left out by reason."""
        return dict(Counter(one.reason or one.part for one in self.members))

    def classes(self) -> dict[str, dict[str, int]]:
        """Label → part → products, the largest label first."""
        table: dict[str, Counter[str]] = {}
        for one in self.members:
            if one.label is not None:
                table.setdefault(one.label, Counter())[one.part] += 1
        return {name: dict(table[name]) for name in sorted(table, key=lambda name: (-table[name].total(), name))}

    def duplicates(self) -> tuple[int, int]:
        """Groups of products that show the same picture, and the products in them."""
        sizes = [size for size in Counter(one.group for one in self.members).values() if size > 1]
        return len(sizes), sum(sizes)


def choose(
    window: ShopWindow, request: Request, *, workers: int, progress: Progress = lambda done, total: None
) -> TrainingSet:
    """Choose among the products that can be searched now.

    Raises:
        NotFound: no product has such an attribute or value; names what is near.
        SettingError: nothing is left to learn from, or all of it is of one class.
    """
    condition = request.condition()
    products = window.engine.everything()
    attributes = parse_attributes(attributes_of(window.store, products.product_ids))
    labels = labels_of(products, attributes, request.label)
    held_out = matching(products, attributes, condition) if condition is not None else set()
    prints, _ = prints_of(window.store, products.sha256, workers=workers, progress=progress)
    group_of = {name: group.product_ids[0] for group in find_groups(products, prints) for name in group.product_ids}
    held_groups = {group_of[name] for name in held_out if name in labels and name in group_of}
    members = []
    for product_id, sha256 in zip(products.product_ids, products.sha256, strict=True):
        group = group_of.get(product_id, product_id)
        part, reason = HELD_OUT if product_id in held_out else LEARN, None
        if product_id not in labels:
            part, reason = LEFT_OUT, NO_LABEL
        elif part == LEARN and group in held_groups:
            part, reason = LEFT_OUT, LIKE_HELD_OUT
        box = _best_box(window, product_id) if request.label == DETECTED and product_id in labels else WHOLE
        members.append(Member(product_id, sha256, box, labels.get(product_id), group, part, reason))
    chosen = TrainingSet(request, members, window.index.version)
    _check(chosen)
    return chosen


def _best_box(window: ShopWindow, product_id: str) -> Box:
    """Where the detector is surest on the product's picture: that is what its detected label says."""
    crops = [item for item in window.engine.items_of(product_id) if item.score is not None]
    return Box(*max(crops, key=lambda item: item.score or 0.0).box)


def _check(chosen: TrainingSet) -> None:
    """Refuse what cannot teach anything."""
    parts = {part: Counter(one.label for one in chosen.members if one.part == part) for part in (LEARN, HELD_OUT)}
    label, learnt = chosen.request.label, parts[LEARN]
    if not learnt:
        raise SettingError(
            f"No product with {label!r} is left to learn from: --split {chosen.request.split} holds all out"
        )
    if len(learnt) == 1:
        raise SettingError(
            f"By {label!r} all {learnt.total()} products to learn from are {next(iter(learnt))!r}, so there is nothing "
            "to tell apart; choose a label with two values or more"
        )
    if chosen.request.split and not any(name in learnt for name in parts[HELD_OUT]):
        raise SettingError(
            f"No product held out by --split {chosen.request.split} has a {label!r} that is learnt; hold others out"
        )


def write_training_set(store: Store, chosen: TrainingSet) -> None:
    """Put the table into the store, under its request."""
    rows = ({**asdict(one), **one.box._asdict()} for one in chosen.members)
    notes = {"request": asdict(chosen.request), "index": chosen.index, "digest": chosen.digest}
    write_table(store, chosen.request.path, TRAINING_SET, map(_without_box, rows), notes)


def _without_box(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "box"}


def read_training_set(store: Store, request: Request) -> TrainingSet:
    """What `write_training_set` wrote for this request. Raises NotFound, StoreError."""
    notes = read_metadata(store, request.path)
    if notes is None:
        raise NotFound(
            f"There is no training set by {request.label!r} yet: materialize training_set with the same label and split"
        )
    members = [_member(row) for row in read_rows(store, request.path, TRAINING_SET)]
    return TrainingSet(request, members, str(notes["index"]))


def _member(row: dict[str, Any]) -> Member:
    box = Box(*(row.pop(side) for side in Box._fields))
    return Member(**row, box=box)


def examples(store: Store, chosen: TrainingSet, part: str, decoders: DecoderPool) -> Iterator[Example]:
    """The products of one part as examples; each decodes its picture when asked for it."""
    for one in chosen.members:
        if one.part == part and one.label is not None:
            square = partial(_square, store, decoders, one.sha256, one.box)
            yield Example(one.product_id, one.label, one.group, square)


def _square(store: Store, decoders: DecoderPool, sha256: str, box: Box, side: int) -> np.ndarray:
    try:
        data = store.read(blob_path(sha256), unchanging=True)
    except FileNotFoundError:
        raise PictureError("missing-blob", f"the picture {sha256[:12]} is not in the store any more") from None
    return letterbox(cut(decoders.decode(data).pixels, box), side)
