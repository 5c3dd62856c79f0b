"""Precision, recall and F1 of a classifier, against figures worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.evaluation.classification import RATES, classification

NAMES = ("hat", "shoe", "sock", "never seen")
TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
GIVEN = np.array([0, 0, 0, 1, 1, 1, 0, 2, 2, 3])


def test_the_rates_are_those_of_the_confusion_matrix() -> None:
    found = classification(NAMES, TRUTH, GIVEN)
    assert found.confusion.tolist() == [[3, 1, 0, 0], [1, 2, 0, 0], [0, 0, 2, 1], [0, 0, 0, 0]]
    assert found.accuracy.value == pytest.approx(0.7)
    rates = {one.name: tuple(one.rates[rate].value for rate in RATES) for one in found.classes}
    assert rates["hat"] == pytest.approx((3 / 4, 3 / 4, 3 / 4))
    assert rates["shoe"] == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert rates["sock"] == pytest.approx((1, 2 / 3, 0.8))
    assert found.macro["f1"].value == pytest.approx((0.75 + 2 / 3 + 0.8) / 3)
    assert found.weighted["f1"].value == pytest.approx((4 * 0.75 + 3 * 2 / 3 + 3 * 0.8) / 10)


def test_a_class_without_products_is_in_the_matrix_and_not_among_the_classes() -> None:
    found = classification(NAMES, TRUTH, GIVEN)
    assert [(one.name, one.products, one.given) for one in found.classes] == [
        ("hat", 4, 4),
        ("shoe", 3, 3),
        ("sock", 3, 2),
    ]
    assert found.as_json()["confusion"]["classes"] == list(NAMES)


def test_a_class_that_is_never_right_has_zeros_and_no_nan() -> None:
    found = classification(("a", "b"), np.array([0, 0, 1]), np.array([0, 0, 0]))
    assert [found.classes[1].rates[rate].value for rate in RATES] == [0, 0, 0]
    assert [found.classes[1].rates[rate].high for rate in RATES] == [0, 0, 0]


def test_the_interval_covers_the_true_accuracy_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for draw in range(200):
        truth = rng.integers(0, 3, 120)
        given = np.where(rng.random(120) < 0.8, truth, (truth + 1) % 3)
        accuracy = classification(("a", "b", "c"), truth, given, resamples=300, seed=draw).accuracy
        covered += accuracy.low <= 0.8 <= accuracy.high
    assert 178 <= covered <= 200  # 95 % of 200, within four standard deviations


def test_nothing_classified_is_refused() -> None:
    with pytest.raises(ValueError, match="Nothing was classified"):
        classification(("a", "b"), np.zeros(0, np.int64), np.zeros(0, np.int64))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_every_figure_lies_in_its_interval_and_between_0_and_1(pairs: list[tuple[int, int]]) -> None:
    truth, given = np.array(pairs).T
    found = classification("abcde", truth, given, resamples=200)
    assert found.accuracy.value == pytest.approx((truth == given).mean())
    for one in found.classes:
        for estimate in one.rates.values():
            assert 0 <= estimate.low <= estimate.high <= 1
            assert 0 <= estimate.value <= 1
    assert found.weighted["recall"].value == pytest.approx(found.accuracy.value)
    assert sum(one.products for one in found.classes) == len(pairs)
