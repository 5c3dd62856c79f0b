"""Below which likeness a photo shows nothing that the shop has: a floor, calibrated when an index is built.

The likeness of a photo is the cosine, in the extractor's own space, that it is estimated to have with the tenth nearest
product. The cosine in index space does not do: centring and projecting take away most of what tells a strange photo
from one of the shop's goods. What they take away is in the photo's own vector and in the projection, so the cosine is
put together again, though the index keeps no raw vectors:

    likeness = u·mean + length · |P(u − mean)| · s10

u is the photo's unit vector, P the projection, s10 the index's score of the tenth nearest product and `length` the mean
of |P(v − mean)| over the shop's products.

The floor is the likeness that all but FALSE_SHARE of the shop's own products reach when the shop does not have them: in
turn a quarter of them is held out of projection and shop, and asks. Larger shops are judged by a sample of themselves,
where the tenth nearest is farther away than in the shop: there the floor lets more through. What it is worth, and which
other rules do worse, is measured in bench/README.md: it tells photos of another world from those of the shop, not goods
of a kind that the shop happens to lack.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vetrina.index.projection import Projection, to_index_space, unit_rows
from vetrina.index.sampling import Sample
from vetrina.index.settings import WHOLE

NTH = 10
"""Which nearest product counts."""
FALSE_SHARE = 0.03
"""Of the shop's own products that are taken for strange."""
FEWEST = 200
"""Products that a floor takes: six of them are the 3 %."""
_MOST = 1000  # products that ask, and are asked: 5 MB at 1280 dimensions, some CPU seconds
_FOLDS = 4
_TINY = 1e-9  # variance of a row that is rounding


def sample_of_products() -> Sample:
    """An empty sample, of whole pictures, for `calibrated`."""
    return Sample(_MOST, (WHOLE,))


def likeness(vectors: np.ndarray, nearest: np.ndarray, projection: Projection | None, length: float) -> np.ndarray:
    """The estimated cosine with the tenth nearest product: float64 [m].

    Args:
        vectors: float32 [m, D] in the extractor's space.
        nearest: float64 [m], scores of the tenth nearest in index space.
        projection: of the index. length: mean length of the shop's projected vectors.
    """
    if projection is None:
        return np.asarray(nearest, np.float64)
    units = unit_rows(vectors)
    moved = np.linalg.norm((units - projection.mean) @ projection.components, axis=1)
    return np.asarray(units @ projection.mean + length * moved * nearest)


def calibrated(vectors: np.ndarray, projection: Projection | None) -> dict[str, Any]:
    """The floor for the manifest: {"floor", "length", "nth", "false_share", "queries", "note"}.

    Args:
        vectors: of the sample, float32 [n, D].
        projection: of the index; None where it keeps the extractor's space.

    Returns:
        `floor` is None where there are too few products, or they do not vary; `note` says so.
    """
    stated: dict[str, Any] = {
        "floor": None,
        "length": _length(vectors, projection),
        "nth": NTH,
        "false_share": FALSE_SHARE,
        "queries": 0,
    }
    if len(vectors) < FEWEST:
        return {**stated, "note": f"{len(vectors)} products are too few to calibrate it; {FEWEST} are needed"}
    fold = np.arange(len(vectors)) % _FOLDS
    found = []
    for held in range(_FOLDS):
        others = vectors[fold != held]
        space = None if projection is None else _fitted(others, projection.components.shape[1])
        if projection is not None and space is None:
            return {**stated, "note": "the products do not vary"}
        asking = vectors[fold == held]
        found.append(likeness(asking, _nearest(asking, others, space), space, _length(others, space)))
    values = np.concatenate(found)
    return {
        **stated,
        "floor": float(np.quantile(values, FALSE_SHARE)),
        "queries": len(values),
        "note": "",
    }


def _fitted(vectors: np.ndarray, dims: int) -> Projection | None:
    """A projection as the index's, by the products of rows with rows: for few rows far cheaper than a covariance."""
    units = unit_rows(vectors)
    mean = units.mean(axis=0)
    centred = units - mean
    values, rows = np.linalg.eigh(centred @ centred.T)
    values, rows = values[::-1][:dims], rows[:, ::-1][:, :dims]
    varying = values > _TINY * len(vectors)
    if not varying.any():
        return None
    components = centred.T @ (rows[:, varying] / np.sqrt(values[varying]))
    return Projection(mean, components, float(values[varying].sum() / np.square(centred).sum()))


def _nearest(asking: np.ndarray, others: np.ndarray, projection: Projection | None) -> np.ndarray:
    """Cosine of each with the tenth nearest of the others, in index space: float64 [m]."""
    scores = to_index_space(asking, projection) @ to_index_space(others, projection).T
    place = scores.shape[1] - NTH
    return np.asarray(np.partition(scores, place, axis=1)[:, place], np.float64)


def _length(vectors: np.ndarray, projection: Projection | None) -> float:
    """Mean length of projected unit vectors; 1 in the extractor's own space."""
    if projection is None or not len(vectors):
        return 1.0
    return float(np.linalg.norm((unit_rows(vectors) - projection.mean) @ projection.components, axis=1).mean())
