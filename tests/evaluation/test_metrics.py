import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.evaluation.metrics import (
    average_precision_at_k,
    mean_average_precision_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
)

hit_lists = st.lists(st.booleans(), max_size=20)
cutoffs = st.integers(1, 25)


@pytest.mark.parametrize(
    ("hits", "relevant", "k", "expected"),
    [
        ([True, False, True, False], 2, 4, (1 / 1 + 2 / 3) / 2),
        ([False, True, True, False, True], 5, 5, (1 / 2 + 2 / 3 + 3 / 5) / 5),
        ([True, True, False], 10, 3, (1 + 1) / 3),  # only three of the ten could be shown
        ([True], 1, 10, 1.0),  # the answer holds all there is
        ([True], 2, 10, 0.5),  # one was not found
        ([False, False, True], 1, 2, 0.0),  # beyond k
        ([], 3, 5, 0.0),
    ],
)
def test_average_precision_equals_the_value_worked_out_by_hand(
    hits: list[bool], relevant: int, k: int, expected: float
) -> None:
    assert average_precision_at_k(hits, relevant, k) == pytest.approx(expected, abs=1e-15)


def test_map_weighs_every_query_the_same() -> None:
    answers = [([True, False], 1), ([False, True], 1), ([False, False], 7)]
    assert mean_average_precision_at_k(answers, 2) == pytest.approx((1 + 1 / 2 + 0) / 3, abs=1e-15)


def test_precision_is_of_k_places_whether_they_are_filled_or_not() -> None:
    assert precision_at_k([True, True, False, True, True], 4) == 0.75
    assert precision_at_k([True, True], 4) == 0.5


def test_recall_is_of_all_that_is_relevant() -> None:
    assert recall_at_k([True, False, True, True], 4, 3) == 0.5


@pytest.mark.parametrize(
    ("hits", "relevant", "k", "expected"),
    [
        ([True, False, True], 2, 3, (1 + 1 / 2) / (1 + 1 / math.log2(3))),
        ([False, True], 1, 5, 1 / math.log2(3)),
        ([True, True], 9, 2, 1.0),  # no answer of two places is better
        ([False, False, True], 1, 2, 0.0),  # beyond k
    ],
)
def test_ndcg_equals_the_value_worked_out_by_hand(hits: list[bool], relevant: int, k: int, expected: float) -> None:
    assert ndcg_at_k(hits, relevant, k) == pytest.approx(expected, abs=1e-15)


@given(hit_lists, st.integers(0, 10), cutoffs)
def test_average_precision_equals_the_sum_over_recall_steps(hits: list[bool], missed: int, k: int) -> None:
    relevant = sum(hits) + missed
    if relevant == 0:
        return
    by_definition = sum(
        precision_at_k(hits, place) for place in range(1, min(k, len(hits)) + 1) if hits[place - 1]
    ) / min(k, relevant)
    assert average_precision_at_k(hits, relevant, k) == pytest.approx(by_definition, abs=1e-12)
    assert 0.0 <= by_definition <= 1.0 + 1e-12


@given(st.integers(1, 12), cutoffs)
def test_a_perfect_answer_scores_one_and_an_empty_one_zero(relevant: int, k: int) -> None:
    assert average_precision_at_k([True] * relevant + [False] * 5, relevant, k) == pytest.approx(1.0, abs=1e-12)
    assert average_precision_at_k([False] * 20, relevant, k) == 0.0


@given(hit_lists.filter(any), cutoffs, st.integers(0, 5))
def test_moving_a_hit_forward_never_makes_it_worse(hits: list[bool], k: int, missed: int) -> None:
    relevant = sum(hits) + missed
    before = average_precision_at_k(hits, relevant, k)
    for first, second in combinations(range(len(hits)), 2):
        if hits[second] and not hits[first]:
            moved = list(hits)
            moved[first], moved[second] = True, False
            assert average_precision_at_k(moved, relevant, k) >= before - 1e-12
            assert ndcg_at_k(moved, relevant, k) >= ndcg_at_k(hits, relevant, k) - 1e-12


@given(hit_lists.filter(any), cutoffs, hit_lists)
def test_what_comes_after_k_does_not_count(hits: list[bool], k: int, tail: list[bool]) -> None:
    relevant = sum(hits) + sum(tail)
    cut, whole = hits[:k], hits[:k] + [False] * (k - len(hits[:k])) + tail
    assert average_precision_at_k(cut, relevant, k) == average_precision_at_k(whole, relevant, k)
    assert precision_at_k(cut, k) == precision_at_k(whole, k)
    assert recall_at_k(cut, relevant, k) == recall_at_k(whole, relevant, k)


@pytest.mark.parametrize(("hits", "relevant", "k"), [([True], 1, 0), ([False], 0, 3), ([True, True], 1, 3)])
def test_what_is_not_defined_is_refused(hits: list[bool], relevant: int, k: int) -> None:
    with pytest.raises(ValueError):
        average_precision_at_k(hits, relevant, k)
    with pytest.raises(ValueError):
        recall_at_k(hits, relevant, k)


def test_no_queries_and_no_places_are_refused() -> None:
    with pytest.raises(ValueError):
        mean_average_precision_at_k([], 10)
    with pytest.raises(ValueError):
        precision_at_k([True], 0)
