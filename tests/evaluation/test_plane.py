"""The map: two principal axes, the same for the same shop, and thumbnails that do not crowd."""

import numpy as np
import pytest

from vetrina.evaluation.plane import by_neighbours, drawn_by_class, spaced_out, to_plane


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


def test_neighbours_stay_together_on_the_map_by_neighbours_and_it_is_the_same_again() -> None:
    rng = np.random.default_rng(4)
    codes = np.repeat(np.arange(6), 20)
    vectors = rng.standard_normal((6, 40))[codes] + 0.2 * rng.standard_normal((120, 40))
    points = by_neighbours(vectors.astype(np.float32), seed=3)
    assert points.shape == (120, 2)
    assert ((points >= 0) & (points <= 1)).all()
    apart = np.square(points[:, None] - points[None]).sum(axis=2) + 9 * np.eye(120)
    assert (codes[apart.argmin(axis=1)] == codes).mean() > 0.95
    assert (by_neighbours(vectors.astype(np.float32), seed=3) == points).all()


def test_a_map_by_neighbours_of_a_few_products_is_that_by_axes() -> None:
    vectors = np.random.default_rng(2).standard_normal((9, 6)).astype(np.float32)
    assert (by_neighbours(vectors, seed=1) == to_plane(vectors)[0]).all()


def test_each_class_brings_its_share_to_the_map_and_none_is_left_out() -> None:
    codes = np.repeat([0, 1, 2, 3], [600, 300, 99, 1])
    drawn = drawn_by_class(codes, 100, seed=1)
    counts = np.bincount(codes[drawn], minlength=4)
    assert counts.sum() == 100
    assert counts.tolist() == pytest.approx([60, 30, 10, 1], abs=2)
    assert counts[3] == 1
    assert (drawn_by_class(codes, 100, seed=1) == drawn).all()
    assert (drawn_by_class(codes, 100, seed=2) != drawn).any()
    assert drawn_by_class(codes, 1000, seed=1).tolist() == list(range(1000))
