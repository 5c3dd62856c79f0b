"""Means and their bootstrap intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.evaluation import intervals
from vetrina.evaluation.intervals import macro, micro

values = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(lambda row: np.array(row)[:, None])


@given(values)
def test_an_interval_lies_within_the_values_and_the_mean_is_the_mean(values: np.ndarray) -> None:
    (found,) = micro(values, resamples=50, seed=1)
    assert found.value == pytest.approx(values.mean(), abs=1e-12)
    assert values.min() - 1e-12 <= found.low <= found.high <= values.max() + 1e-12


def test_the_interval_of_many_queries_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(5).random((2000, 1))
    (found,) = micro(values, resamples=4000, seed=2)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert found.high - found.value == pytest.approx(half, rel=0.08)
    assert found.value - found.low == pytest.approx(half, rel=0.08)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(3).random((40, 2))
    assert micro(values, resamples=100, seed=7) == micro(values, resamples=100, seed=7)
    assert micro(values, resamples=100, seed=7) != micro(values, resamples=100, seed=8)


def test_drawing_in_small_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).random((40, 2))
    whole = micro(values, resamples=100, seed=7)
    monkeypatch.setattr(intervals, "_DRAWN_AT_ONCE", 1)
    for one, other in zip(micro(values, resamples=100, seed=7), whole, strict=True):
        assert (one.low, one.high) == (pytest.approx(other.low, abs=1e-12), pytest.approx(other.high, abs=1e-12))


def test_a_single_query_has_no_spread() -> None:
    (found,) = micro(np.array([[0.25]]), resamples=20, seed=1)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_macro_weighs_every_class_the_same() -> None:
    values = np.array([[1.0], [1.0], [1.0], [0.0]])
    (found,) = macro(values, np.array([4, 4, 4, 2]), resamples=20, seed=1)
    assert found.value == 0.5
    assert micro(values, resamples=20, seed=1)[0].value == 0.75


def test_macro_draws_within_the_classes() -> None:
    """Classes without spread leave none, though they differ; over all queries there is some."""
    values = np.array([[1.0], [1.0], [0.0], [0.0]])
    (found,) = macro(values, np.array([0, 0, 1, 1]), resamples=50, seed=1)
    assert (found.low, found.high) == (0.5, 0.5)
    (spread,) = micro(values, resamples=50, seed=1)
    assert spread.low < 0.5 < spread.high


def test_the_interval_of_a_difference_is_paired() -> None:
    """Every query gains the same, so the gain is certain, however the queries differ."""
    before = np.random.default_rng(1).random((30, 1))
    (gain,) = micro(before + 0.01 - before, resamples=50, seed=1)
    assert (gain.low, gain.high) == (pytest.approx(0.01), pytest.approx(0.01))


@pytest.mark.parametrize(("count", "resamples"), [(0, 10), (3, 0)])
def test_nothing_to_draw_is_refused(count: int, resamples: int) -> None:
    with pytest.raises(ValueError):
        micro(np.zeros((count, 1)), resamples=resamples, seed=1)
    with pytest.raises(ValueError):
        macro(np.zeros((count, 1)), np.zeros(count, np.int64), resamples=resamples, seed=1)
