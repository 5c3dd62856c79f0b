"""A map of the products: their vectors in the plane that keeps most of the variance (PCA).

No maintained library for t-SNE or UMAP is among this project's dependencies, so distances on the map are those of
a projection: products far apart are unlike, products close together need not be alike.
"""

from __future__ import annotations

import numpy as np


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
    low, spread = points.min(axis=0), np.ptp(points, axis=0)
    flat = spread < 1e-9
    scaled = (points - low) / np.where(flat, 1.0, spread)
    scaled[:, flat] = 0.5
    return scaled, kept


def spaced_out(points: np.ndarray, columns: int, rows: int) -> list[int]:
    """At most one point for each cell of a grid over the unit square, that next to its centre: places, ascending."""
    size = np.array([columns, rows])
    cells = np.minimum((points * size).astype(np.int64), size - 1)
    apart = (((points * size) - cells - 0.5) ** 2).sum(axis=1)
    best: dict[tuple[int, int], int] = {}
    for place in np.lexsort((np.arange(len(points)), apart)):
        best.setdefault((int(cells[place, 0]), int(cells[place, 1])), int(place))
    return sorted(best.values())
