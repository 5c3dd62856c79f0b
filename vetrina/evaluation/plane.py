"""Maps of the products: their vectors in the plane that keeps most of the variance (PCA), or that keeps neighbours
together (t-SNE).

On the first, products far apart are unlike, and products close together need not be alike. On the second it is the
other way round: products close together are alike, and how far apart groups lie says nothing.
"""

from __future__ import annotations

import numpy as np

FEWEST_FOR_NEIGHBOURS = 10
"""Products that a map by neighbours takes."""


def to_plane(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Vectors on their first two principal axes, scaled into the unit square; memory is that of a copy.

    Args:
        vectors: float32 [n, d].

    Returns:
        float64 [n, 2] in 0 to 1 (0.5 where an axis has no spread), and the share of the variance that they keep.
    """
    centred = vectors.astype(np.float64)
    if not len(centred):
        return np.zeros((0, 2)), 0.0
    centred -= centred.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    main = axes[:, ::-1][:, :2]
    # An axis is known up to its sign; fix it, so that the same shop gives the same map.
    main = main * np.sign(main[np.abs(main).argmax(axis=0), np.arange(main.shape[1])])
    points = np.zeros((len(centred), 2))
    points[:, : main.shape[1]] = centred @ main
    total = float(values.sum())
    kept = float(np.clip(values[::-1][:2].sum() / total, 0.0, 1.0)) if total > 1e-12 else 0.0
    return _into_square(points), kept


def by_neighbours(vectors: np.ndarray, seed: int) -> np.ndarray:
    """Vectors in the plane by t-SNE, scaled into the unit square; one processor, minutes beyond some thousands.

    L. van der Maaten, G. Hinton, "Visualizing Data using t-SNE" (2008), by scikit-learn, from the principal axes on.
    The same vectors and seed give the same map on one machine.

    Args:
        vectors: float32 [n, d] unit rows.

    Returns:
        float64 [n, 2] in 0 to 1; of fewer than FEWEST_FOR_NEIGHBOURS the principal axes.
    """
    if len(vectors) < FEWEST_FOR_NEIGHBOURS or vectors.shape[1] < 2:
        return to_plane(vectors)[0]
    from sklearn.manifold import TSNE  # type: ignore[import-untyped, import-not-found, unused-ignore]
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, import-not-found, unused-ignore]

    perplexity = min(30.0, (len(vectors) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed, n_jobs=1)
    # On a busy machine threads that wait for one another take fifty times as long, and their sums vary.
    with threadpool_limits(1):
        points = tsne.fit_transform(vectors.astype(np.float32))
    return _into_square(points.astype(np.float64))


def drawn_by_class(codes: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most `most` places, of each class its share, and at least one while there is room: int64, ascending.

    Args:
        codes: int [n], which class each has.
    """
    if len(codes) <= most:
        return np.arange(len(codes))
    shuffled = np.random.default_rng(seed).permutation(len(codes))
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    first = np.flatnonzero(np.diff(codes[by_class], prepend=codes[by_class[0]] - 1))
    sizes = np.diff(np.append(first, len(codes)))
    # How far down its own class a place is: the first of each class comes before all others.
    rank = np.arange(len(codes)) - np.repeat(first, sizes)
    share = np.where(rank == 0, -1.0, rank / np.repeat(sizes, sizes))
    return np.sort(by_class[np.argsort(share, kind="stable")[:most]])


def _into_square(points: np.ndarray) -> np.ndarray:
    low, spread = points.min(axis=0), np.ptp(points, axis=0)
    flat = spread < 1e-9
    scaled = (points - low) / np.where(flat, 1.0, spread)
    scaled[:, flat] = 0.5
    return np.asarray(scaled)


def spaced_out(points: np.ndarray, columns: int, rows: int) -> list[int]:
    """At most one point for each cell of a grid over the unit square, that next to its centre: places, ascending."""
    size = np.array([columns, rows])
    cells = np.minimum((points * size).astype(np.int64), size - 1)
    apart = (((points * size) - cells - 0.5) ** 2).sum(axis=1)
    best: dict[tuple[int, int], int] = {}
    for place in np.lexsort((np.arange(len(points)), apart)):
        best.setdefault((int(cells[place, 0]), int(cells[place, 1])), int(place))
    return sorted(best.values())
