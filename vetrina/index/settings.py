"""What a person may set about an index, and how pairs of items are weighed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from vetrina.errors import SettingError

WHOLE, CROP = "whole", "crop"
KINDS = (WHOLE, CROP)  # the position of a name is its code in arrays
SERVE = ("auto", "annoy", "exact")
AUTO: Final = "auto"
EXACT, BY_INDEX = "exact", "index"
TABLES = (AUTO, EXACT, BY_INDEX)
"""How the table of similar products may be made."""


@dataclass(frozen=True, slots=True)
class Penalties:
    """What a pair of items loses from its cosine, by the kinds of the two.

    Attributes:
        mixed: a whole picture with a crop.
        crops: a crop with a crop; `None` means the same as `mixed`.
    """

    mixed: float = 0.0
    crops: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("mixed", self.mixed), ("crops", self.crops)):
            if value is not None and not (math.isfinite(value) and 0.0 <= value <= 2.0):
                raise SettingError(f"The {name} pair penalty is {value}; it must lie between 0 and 2")


def pair_penalty(query_kind: str, item_kind: str, penalties: Penalties) -> float:
    """What the cosine of a (query row, item) pair loses: nothing for two whole pictures."""
    if query_kind == item_kind == WHOLE:
        return 0.0
    if query_kind == item_kind and penalties.crops is not None:
        return penalties.crops
    return penalties.mixed


def penalty_matrix(penalties: Penalties) -> np.ndarray:
    """`pair_penalty` of every pair of kinds: float64 [query kind, item kind]."""
    return np.array([[pair_penalty(query, item, penalties) for item in KINDS] for query in KINDS], np.float64)


def kind_codes(kinds: tuple[str, ...]) -> np.ndarray:
    """Codes of kind names: uint8 [n]. Raises SettingError for an unknown name."""
    for kind in kinds:
        if kind not in KINDS:
            raise SettingError(f"{kind!r} is not a kind of item; use one of {', '.join(KINDS)}")
    return np.array([KINDS.index(kind) for kind in kinds], np.uint8)


@dataclass(frozen=True, slots=True)
class TableSettings:
    """Settings of the table of similar products.

    Attributes:
        neighbours: similar products of each (k).
        same_class: those of the same class come first.
        hide_duplicates: none shows the picture of the product itself, or of a better one, again.
        made_by: "exact" compares all items, "index" lets the index find them, "auto" is exact up to so many items
            (`vetrina.index.table_search`).

    Raises:
        SettingError: neighbours below 1, or another way of making it.
    """

    neighbours: int = 10
    same_class: bool = False
    hide_duplicates: bool = True
    made_by: str = AUTO

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise SettingError(f"The number of similar products is {self.neighbours}; it must be at least 1")
        if self.made_by not in TABLES:
            raise SettingError(f"VETRINA_TABLE is {self.made_by!r}; use one of {', '.join(TABLES)}")


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Settings of one build.

    Attributes:
        projection_dims: dimensions of the index space; `None` keeps the extractor's, AUTO chooses
            (`vetrina.index.dimensions`). A number is left out by itself when there are fewer than four items per
            dimension (too few to estimate it) or nothing to gain.
        trees: Annoy trees; `None` finds out.
        search_k: Annoy nodes to inspect per query; `None` finds out.
        recall_target: share of the true `recall_k` nearest items that Annoy must find, with 95 % confidence.
        recall_sample: stored items the recall is measured with, as many vectors from outside, and at most as many
            items of each label.
        query_ms: CPU time that a query may take; 0 sets no limit. What was measured then decides on the trees, so
            two builds from the same items may differ.
        seed: of the Annoy file and of every sample.
        crop_penalty: what a (whole, crop) pair loses from its cosine.
        crop_crop_penalty: the same for two crops; `None` means `crop_penalty`.
        serve_with: "annoy" or "exact" to force one, "auto" to let the measurement decide.

    Raises:
        SettingError: a value that cannot be used.
    """

    projection_dims: int | Literal["auto"] | None = 128
    trees: int | None = None
    search_k: int | None = None
    recall_target: float = 0.99
    recall_k: int = 10
    recall_sample: int = 400
    query_ms: float = 0.0
    seed: int = 17
    crop_penalty: float = 0.05
    crop_crop_penalty: float | None = 0.2
    serve_with: str = "auto"

    def __post_init__(self) -> None:
        for name in ("projection_dims", "trees", "search_k", "recall_k", "recall_sample", "seed"):
            value = getattr(self, name)
            if value is not None and value != AUTO and value < 1:
                raise SettingError(f"{name} is {value}; it must be at least 1")
        if not 0.0 < self.recall_target <= 1.0:
            raise SettingError(f"recall_target is {self.recall_target}; it must be above 0 and at most 1")
        if not (math.isfinite(self.query_ms) and self.query_ms >= 0.0):
            raise SettingError(f"query_ms is {self.query_ms}; it must be 0 (no limit) or a number of milliseconds")
        if self.serve_with not in SERVE:
            raise SettingError(f"serve_with is {self.serve_with!r}; use one of {', '.join(SERVE)}")
        _ = self.penalties

    @property
    def penalties(self) -> Penalties:
        """The pair penalties these settings name."""
        return Penalties(self.crop_penalty, self.crop_crop_penalty)
