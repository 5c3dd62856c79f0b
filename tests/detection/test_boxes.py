import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vetrina.detection.boxes import areas, iou, suppress

_corner = st.floats(0, 1, width=32)
_ROUNDING = 1e-5  # of an overlap of just one half


@st.composite
def _boxes_and_groups(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(0, 30))
    corners = draw(arrays(np.float32, (n, 2, 2), elements=_corner))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return boxes, draw(arrays(np.int64, n, elements=st.integers(0, 2)))


def _not_empty(drawn: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Those a pixel of the largest picture wide and high, or more: what is left of a picture's candidates."""
    boxes, groups = drawn
    real = np.all(boxes[:, 2:] - boxes[:, :2] > 1 / 20_000, axis=1)
    return boxes[real], groups[real]


@given(_boxes_and_groups())
def test_iou_is_symmetric_within_0_and_1_and_1_with_itself(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    boxes, _ = drawn
    pairs = iou(boxes, boxes)
    assert pairs.shape == (len(boxes), len(boxes))
    assert np.allclose(pairs, pairs.T) and (pairs >= 0).all() and (pairs <= 1 + 1e-6).all()
    assert np.allclose(np.diag(pairs)[areas(boxes) > 1e-30], 1)


def test_iou_of_half_overlapping_squares_is_a_third() -> None:
    one = np.array([[0, 0, 1, 1]], np.float32)
    assert np.allclose(iou(one, np.array([[0, 0.5, 1, 1.5], [2, 2, 3, 3]], np.float32)), [[1 / 3, 0]])


@given(_boxes_and_groups())
def test_no_two_kept_boxes_of_one_class_overlap_and_every_other_lost_to_a_better_one(
    drawn: tuple[np.ndarray, np.ndarray],
) -> None:
    boxes, groups = _not_empty(drawn)
    kept = suppress(boxes, groups, 0.5, 100)
    overlap = np.where(groups[:, None] == groups, iou(boxes, boxes), 0)
    assert (np.diff(kept) > 0).all()
    assert not np.triu(overlap[np.ix_(kept, kept)] > 0.5 + _ROUNDING, 1).any()
    for row in set(range(len(boxes))) - set(kept.tolist()):
        assert (overlap[row, kept[kept < row]] > 0.5 - _ROUNDING).any()


def test_boxes_of_two_classes_do_not_suppress_each_other() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 0.9], [0, 0, 1, 0.8]], np.float32)
    assert suppress(boxes, np.array([3, 7, 3]), 0.5, 100).tolist() == [0, 1]


@given(_boxes_and_groups(), st.integers(1, 5))
def test_a_limit_keeps_the_best_of_what_suppression_keeps(drawn: tuple[np.ndarray, np.ndarray], limit: int) -> None:
    boxes, groups = _not_empty(drawn)
    assert suppress(boxes, groups, 0.5, limit).tolist() == suppress(boxes, groups, 0.5, 100).tolist()[:limit]
