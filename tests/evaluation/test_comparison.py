"""Comparisons of two small indexes, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from index_samples import Item, opened, shop
from test_evaluation import EXACT, LABELS, at

from vetrina.evaluation.comparison import (
    Comparison,
    Judged,
    as_json,
    compare_answers,
    compare_by_label,
    overlap_of,
    verdict,
)
from vetrina.evaluation.evaluation import Plan, assign_roles
from vetrina.evaluation.intervals import Estimate
from vetrina.search.engine import SearchEngine

# By angle: a1 a2 b1 a3 b2 with the first model; the second puts a's and b's apart.
MIXED = [*at("a1", 0), *at("a2", 10), *at("b1", 21), *at("a3", 33), *at("b2", 46), *at("c1", 120)]
APART = [*at("a1", 0), *at("a2", 10), *at("a3", 21), *at("b1", 81), *at("b2", 94), *at("c1", 170)]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchEngine, SearchEngine]:
    def engine(items: list[Item], name: str) -> SearchEngine:
        return SearchEngine(opened(items, tmp_path_factory.mktemp(name), EXACT))

    return engine(MIXED, "mixed"), engine(APART, "apart")


def compared(first: SearchEngine, second: SearchEngine, k: int = 2) -> Comparison:
    plan = Plan("letter", k=k)
    roles = assign_roles(first.everything().product_ids, LABELS, plan)
    return compare_by_label((first, second), LABELS, roles, plan)


@pytest.mark.parametrize(
    ("first", "second", "k", "share"),
    [
        (["a", "b", "c"], ["c", "b", "a"], 3, 1.0),
        (["a", "b", "c"], ["a", "x", "y"], 3, 1 / 3),
        (["a", "b", "c"], ["x", "b", "a"], 2, 1 / 2),
        (["a"], ["a", "b"], 4, 1 / 2),
        ([], ["a"], 4, 0.0),
        ([], [], 4, 1.0),
    ],
)
def test_the_overlap_is_the_share_of_neighbours_in_common(
    first: list[str], second: list[str], k: int, share: float
) -> None:
    assert overlap_of([first], [second], k).tolist() == [pytest.approx(share)]


def test_the_difference_of_every_query_is_that_worked_out_by_hand(engines: tuple[SearchEngine, SearchEngine]) -> None:
    found = compared(*engines)
    assert found.judged is not None
    assert found.queries == ["a1", "a2", "a3", "b1", "b2"]
    # First model: a1 sees a2 b1, a2 sees a1 b1, a3 sees b1 b2, b1 sees a2 a3, b2 sees a3 b1. The second is right.
    before, after = [1 / 2, 1 / 2, 0, 0, 1 / 2], [1, 1, 1, 1, 1]
    assert found.judged.gains.tolist() == pytest.approx(np.subtract(after, before))
    assert found.judged.micro["map@2"].value == pytest.approx(np.mean(after) - np.mean(before))
    assert found.judged.macro["map@2"].value == pytest.approx(1 - (1 / 3 + 1 / 4) / 2)
    # a1: {a2, b1} and {a2, a3}; a2: {a1, b1} and {a1, a3}; a3: nothing; b1: {a2, a3} and {b2, a3}; b2: {a3, b1} both.
    assert found.overlap.tolist() == [0.5, 0.5, 0, 0.5, 1]
    assert found.mean_overlap.value == pytest.approx(0.5)
    assert found.overlap_counts() == [1, 3, 1]


def test_the_interval_is_of_the_differences_and_not_of_two_apart(engines: tuple[SearchEngine, SearchEngine]) -> None:
    found = compared(*engines)
    assert found.judged is not None
    first, second = found.judged.evaluations
    paired = found.judged.micro["map@2"]
    widths = [estimate.high - estimate.low for estimate in (first.scores.micro["map@2"], paired)]
    # The second model is right everywhere, so the difference varies just as the first does, over the same draws.
    assert widths[0] == pytest.approx(widths[1])
    assert paired.low == pytest.approx(1 - first.scores.micro["map@2"].high)
    assert second.scores.micro["map@2"].low == 1


def test_a_model_does_not_differ_from_itself(engines: tuple[SearchEngine, SearchEngine]) -> None:
    found = compared(engines[0], engines[0])
    assert found.judged is not None
    assert set(found.overlap.tolist()) == {1.0}
    assert {(e.value, e.low, e.high) for e in found.judged.micro.values()} == {(0, 0, 0)}
    assert verdict(found.judged)[0] == "no difference"
    assert found.largest_changes(8, gains=True) == found.largest_changes(8, gains=False) == []


def test_the_verdict_says_which_is_better_and_turns_round_with_the_order(
    engines: tuple[SearchEngine, SearchEngine],
) -> None:
    forth, back = compared(*engines), compared(engines[1], engines[0])
    word, text = verdict(forth.judged)
    assert word == "better"
    assert text.startswith("By map@2 B finds better than A: it changes by +0.700 (")
    assert verdict(back.judged)[0] == "worse"
    assert verdict(None)[0] == "not measured"


@pytest.mark.parametrize(
    ("over_queries", "over_classes", "word"),
    [
        ((-0.3, -0.1), (0.1, 0.3), "mixed"),
        ((0.1, 0.3), (-0.1, 0.2), "better"),
        ((-0.1, 0.3), (0.1, 0.2), "better"),
        ((-0.3, -0.1), (-0.1, 0.1), "worse"),
        ((-0.1, 0.0), (0.0, 0.1), "no difference"),
    ],
)
def test_the_verdict_goes_by_the_intervals_over_queries_and_over_classes(
    engines: tuple[SearchEngine, SearchEngine],
    over_queries: tuple[float, float],
    over_classes: tuple[float, float],
    word: str,
) -> None:
    judged = compared(*engines).judged
    assert judged is not None

    def entry(ends: tuple[float, float]) -> dict[str, Estimate]:
        return {"map@2": Estimate(sum(ends) / 2, *ends)}

    said = verdict(Judged(judged.evaluations, entry(over_queries), entry(over_classes)))
    assert said[0] == word
    assert f"({over_queries[0]:+.3f} to {over_queries[1]:+.3f}) over queries" in said[1]


def test_disagreements_are_the_largest_in_both_directions_a_few_of_each_class(tmp_path: Path) -> None:
    items = shop(60, 6, seed=3, clusters=4)
    other = [(name, *rest, vector[::-1].copy()) for name, *rest, vector in shop(60, 6, seed=4, clusters=4)]
    first = SearchEngine(opened(items, tmp_path / "first", EXACT))
    second = SearchEngine(opened(other, tmp_path / "second", EXACT))  # type: ignore[arg-type]
    ids = first.everything().product_ids
    labels = {name: "ABCDE"[number % 5] for number, name in enumerate(ids)}
    plan = Plan("letter", k=5)
    found = compare_by_label((first, second), labels, assign_roles(ids, labels, plan), plan)
    assert found.judged is not None
    gains = found.judged.gains
    for places, sign in ((found.largest_changes(8, gains=True), 1), (found.largest_changes(8, gains=False), -1)):
        changes = [sign * gains[place] for place in places]
        assert len(places) == 8
        assert changes == sorted(changes, reverse=True)
        assert changes[0] == (sign * gains).max()
        assert max(np.bincount([found.judged.evaluations[0].codes[place] for place in places])) == 2
    apart = found.most_apart(8)
    assert found.overlap[apart[0]] == found.overlap.min()
    values = as_json(found, 8)
    assert sum(values["overlap"]["counts"]) == values["queries"] == 60
    assert [entry["product_id"] for entry in values["disagreements"]["gains"]] == [
        found.queries[place] for place in found.largest_changes(8, gains=True)
    ]
    for entry in values["classes"]:
        assert entry["difference"]["value"] == pytest.approx(entry["b"] - entry["a"], abs=2e-6)
        assert entry["difference"]["low"] <= entry["difference"]["value"] <= entry["difference"]["high"]
    assert sum(entry["queries"] for entry in values["classes"]) == 60


def test_without_labels_only_the_answers_are_compared(engines: tuple[SearchEngine, SearchEngine]) -> None:
    ids = engines[0].everything().product_ids
    found = compare_answers(engines, ids, Plan("", k=2))
    assert found.judged is None
    assert found.overlap.tolist() == [0.5, 0.5, 0, 0.5, 1, 0.5]
    values = as_json(found, 3)
    assert values["verdict"]["word"] == "not measured"
    assert "--label" in values["verdict"]["text"]
    assert values["classes"] == values["disagreements"]["gains"] == []
    assert values["disagreements"]["overlap"][0] == {
        "product_id": "a3",
        "overlap": 0.0,
        "a": ["b1", "b2"],
        "b": ["a2", "a1"],
    }
    assert "difference" not in values
