"""Arithmetic of boxes: intersection over union and non-maximum suppression.

A box is ymin, xmin, ymax, xmax in any one unit; arrays are float32 or float64 [n, 4].
"""

from typing import Any

import cv2
import numpy as np


def areas(boxes: np.ndarray) -> np.ndarray:
    """Area of each box, [n]; a box turned inside out has none."""
    sides: np.ndarray = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair: [n, 4], [m, 4] → [n, m], 0..1; 0 where both boxes are empty."""
    # Column by column: numpy is several times slower over a last axis of two.
    one, two = first[:, :, None], second.T[:, None, :]
    height = np.minimum(one[:, 2], two[2]) - np.maximum(one[:, 0], two[0])
    width = np.minimum(one[:, 3], two[3]) - np.maximum(one[:, 1], two[1])
    shared: np.ndarray = np.maximum(height, 0) * np.maximum(width, 0)
    union = areas(first)[:, None] + areas(second)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def suppress(boxes: np.ndarray, groups: np.ndarray, max_iou: float, limit: int) -> np.ndarray:
    """Greedy non-maximum suppression within each group, by OpenCV.

    Args:
        boxes: [n, 4], best first, none of them empty.
        groups: int [n]; a box is suppressed only by a better box of its own group (per-class suppression).
        max_iou: a box that overlaps a kept one by more than this goes.
        limit: how many boxes to keep at most, over all groups.

    Returns:
        The kept rows' numbers, int64, ascending (so best first).
    """
    if not len(boxes):
        return np.zeros(0, np.int64)
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)
    falling = np.linspace(1, 0.5, len(boxes), dtype=np.float32)  # OpenCV sorts by score; ours are sorted
    suppress_batched: Any = cv2.dnn.NMSBoxesBatched  # its stub asks for lists; arrays spare a Python number each
    kept = suppress_batched(corner_and_size, falling, groups.astype(np.int32), 0.0, max_iou)
    return np.sort(np.asarray(kept, np.int64))[:limit]
