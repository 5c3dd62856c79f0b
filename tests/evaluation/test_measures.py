"""The measures of many answers at once are those of `metrics`, one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.evaluation import measures
from vetrina.evaluation.measures import depth_for, measure, measure_names
from vetrina.evaluation.metrics import average_precision_at_k, ndcg_at_k, precision_at_k


@st.composite
def answers(draw: st.DrawFn) -> tuple[int, np.ndarray, np.ndarray]:
    k = draw(st.integers(1, 12))
    rows = st.lists(st.booleans(), min_size=depth_for(k), max_size=depth_for(k))
    hits = np.array(draw(st.lists(rows, min_size=1, max_size=9)), bool)
    missed = draw(st.lists(st.integers(0, 6), min_size=len(hits), max_size=len(hits)))
    return k, hits, np.maximum(hits.sum(axis=1) + missed, 1)


@given(answers())
def test_each_value_equals_the_definition(given: tuple[int, np.ndarray, np.ndarray]) -> None:
    k, hits, relevant = given
    found = measure(hits, relevant, k)
    for place, (row, count) in enumerate(zip(hits.tolist(), relevant.tolist(), strict=True)):
        assert found.of(f"map@{k}")[place] == pytest.approx(average_precision_at_k(row, count, k), abs=1e-12)
        assert found.of(f"ndcg@{k}")[place] == pytest.approx(ndcg_at_k(row, count, k), abs=1e-12)
        assert found.of(f"precision@{k}")[place] == pytest.approx(precision_at_k(row, k), abs=1e-12)
        assert found.of("precision@5")[place] == pytest.approx(precision_at_k(row, 5), abs=1e-12)
        assert found.of("accuracy@4")[place] == pytest.approx(precision_at_k(row, 4), abs=1e-12)


@given(answers())
def test_blocks_leave_no_trace(given: tuple[int, np.ndarray, np.ndarray]) -> None:
    k, hits, relevant = given
    whole = measure(hits, relevant, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "_BLOCK_CELLS", 1)
        assert measure(hits, relevant, k).values == pytest.approx(whole.values, abs=1e-12)


def test_accuracy_is_the_share_of_the_four_nearest_with_the_class_of_the_query() -> None:
    hits = np.array([[True, True, True, False, False], [False, False, False, True, True]])
    assert measure(hits, np.array([9, 9]), 5).of("accuracy@4").tolist() == [0.75, 0.25]


def test_a_measure_that_is_asked_for_twice_is_given_once() -> None:
    assert measure_names(5) == ("map@5", "precision@5", "accuracy@4", "ndcg@5")
    assert measure_names(10) == ("map@10", "precision@5", "precision@10", "accuracy@4", "ndcg@10")


@pytest.mark.parametrize(("relevant", "k"), [(2, 0), (0, 3), (1, 3)], ids=["no places", "no goal", "too many hits"])
def test_what_is_not_defined_is_refused(relevant: int, k: int) -> None:
    with pytest.raises(ValueError):
        measure(np.array([[True, True, False, False, False]]), np.array([relevant]), k)
