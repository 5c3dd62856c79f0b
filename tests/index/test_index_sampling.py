from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from index_samples import unit

from vetrina.index.sampling import from_outside, stratified


@given(labels=st.lists(st.integers(-1, 6), min_size=1, max_size=300), count=st.integers(1, 80))
def test_every_label_has_its_share_of_the_sample_up_to_one(labels: list[int], count: int) -> None:
    codes = np.array(labels)
    sample = stratified(codes, count, np.random.default_rng(1))
    assert len(set(sample.tolist())) == len(sample) == min(count, len(codes))
    assert (np.diff(sample) > 0).all()
    for code in set(labels):
        share = len(sample) * np.count_nonzero(codes == code) / len(codes)
        assert abs(np.count_nonzero(codes[sample] == code) - share) < 1


def test_the_same_seed_draws_the_same_rows_and_another_seed_others() -> None:
    labels = np.repeat([0, 1, 2], 200)
    drawn = [stratified(labels, 60, np.random.default_rng(seed)).tolist() for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_vectors_from_outside_are_no_items_but_lie_near_one() -> None:
    vectors = unit(np.random.default_rng(2).standard_normal((500, 30)))
    made = from_outside(vectors, 300, np.random.default_rng(5))
    assert made.shape == (300, 30) and made.dtype == np.float32
    assert np.allclose(np.linalg.norm(made, axis=1), 1.0, atol=1e-5)
    nearest = (made @ vectors.T).max(axis=1)
    assert nearest.min() > 0.5, "at most half the way to another"
    assert np.count_nonzero(nearest < 0.999) > 200
    assert np.ptp(nearest) > 0.2, "near ones and far ones"
    assert (made == from_outside(vectors, 300, np.random.default_rng(5))).all()


@pytest.mark.parametrize("vectors", [[[1.0, 0.0]], [[1.0, 0.0], [-1.0, 0.0]]])
def test_one_item_and_opposite_items_give_vectors_of_length_one(vectors: list[list[float]]) -> None:
    made = from_outside(np.array(vectors, np.float32), 200, np.random.default_rng(0))
    assert np.allclose(np.linalg.norm(made, axis=1), 1.0)
