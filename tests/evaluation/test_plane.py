"""The map: two principal axes, the same for the same shop, and thumbnails that do not crowd."""

import numpy as np
import pytest

from vetrina.evaluation.plane import spaced_out, to_plane


def test_points_that_lie_in_a_plane_keep_their_distances_up_to_scale() -> None:
    rng = np.random.default_rng(1)
    flat = rng.standard_normal((50, 2)) * [5, 1]
    turned = flat @ np.linalg.qr(rng.standard_normal((7, 2)))[0].T
    points, kept = to_plane(turned.astype(np.float32))
    assert kept == pytest.approx(1, abs=1e-6)
    # Each axis is scaled by itself into the unit square.
    assert points.min(axis=0) == pytest.approx(0, abs=1e-9)
    assert points.max(axis=0) == pytest.approx(1, abs=1e-9)
    assert abs(np.corrcoef(points[:, 0], (flat - flat.mean(axis=0))[:, 0])[0, 1]) > 0.98


def test_the_same_vectors_give_the_same_map() -> None:
    vectors = np.random.default_rng(2).standard_normal((30, 6)).astype(np.float32)
    assert (to_plane(vectors)[0] == to_plane(vectors.copy())[0]).all()


@pytest.mark.parametrize(
    "vectors", [np.ones((4, 3)), np.ones((1, 3)), np.zeros((0, 3)), np.arange(5.0)[:, None]], ids=str
)
def test_products_without_spread_are_still_placed(vectors: np.ndarray) -> None:
    points, kept = to_plane(vectors.astype(np.float32))
    assert points.shape == (len(vectors), 2)
    assert np.isfinite(points).all()
    assert ((points >= 0) & (points <= 1)).all()
    assert 0 <= kept <= 1


def test_no_two_thumbnails_share_a_cell_and_no_filled_cell_goes_without() -> None:
    points = np.random.default_rng(3).random((200, 2))
    chosen = spaced_out(points, 4, 3)
    cells = [tuple(np.minimum((points[place] * [4, 3]).astype(int), [3, 2])) for place in chosen]
    assert len(set(cells)) == len(cells) == 12
    assert spaced_out(np.array([[1.0, 1.0], [0.9, 0.9]]), 1, 1) == [1]
