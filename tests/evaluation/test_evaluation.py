"""Evaluations of small shops, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from index_samples import Item, opened, shop

from vetrina.errors import SettingError
from vetrina.evaluation.evaluation import Evaluation, Plan, as_json, assign_roles, evaluate
from vetrina.index.settings import IndexSettings
from vetrina.search.engine import SearchEngine

EXACT = IndexSettings(projection_dims=None, serve_with="exact")


def at(product_id: str, degrees: float, label: str | None = None) -> list[Item]:
    """A product whose picture points in a direction of the plane: the nearer the angle, the more alike."""
    angle = np.radians(degrees)
    vector = np.array([np.cos(angle), np.sin(angle)], np.float32)
    items: list[Item] = [(product_id, f"{product_id}-w", "whole", None, None, vector)]
    if label is not None:
        items.append((product_id, f"{product_id}-c", "crop", label, 0.9, vector))
    return items


# By angle: a1 a2 b1 a3 b2, and one product of a class of its own at the far end.
LINE = [*at("a1", 0), *at("a2", 10), *at("b1", 21), *at("a3", 33), *at("b2", 46), *at("c1", 120)]
LABELS = {"a1": "A", "a2": "A", "a3": "A", "b1": "B", "b2": "B", "c1": "C"}


def engine_of(items: list[Item], folder: Path, settings: IndexSettings = EXACT) -> SearchEngine:
    return SearchEngine(opened(items, folder, settings))


def evaluated(engine: SearchEngine, labels: dict[str, str], plan: Plan, **options: object) -> Evaluation:
    duplicates = options.pop("duplicates", None)
    roles = assign_roles(engine.everything().product_ids, labels, plan, **options)  # type: ignore[arg-type]
    return evaluate(engine, labels, roles, plan, duplicates=duplicates)  # type: ignore[arg-type]


@pytest.fixture
def engine(tmp_path: Path) -> SearchEngine:
    return engine_of(LINE, tmp_path)


def test_average_precision_of_every_query_is_that_worked_out_by_hand(engine: SearchEngine) -> None:
    found = evaluated(engine, LABELS, Plan("letter", k=3))
    # a1 sees a2 b1 a3; a2 sees a1 b1 a3; a3 sees b1 b2 a2; b1 sees a2 a3 a1; b2 sees a3 b1 a2.
    assert found.roles.queries == ["a1", "a2", "a3", "b1", "b2"]
    hand = [(1 + 2 / 3) / 2, (1 + 2 / 3) / 2, (1 / 3) / 2, 0, 1 / 2]
    assert found.measured.of("map@3").tolist() == pytest.approx(hand)
    assert found.scores.micro["map@3"].value == pytest.approx(np.mean(hand))
    assert found.scores.macro["map@3"].value == pytest.approx((np.mean(hand[:3]) + np.mean(hand[3:])) / 2)
    # Of the four nearest: a1 a2 a3 have 2, 2, 2 of their class, b1 and b2 one.
    assert found.measured.of("accuracy@4").tolist() == [0.5, 0.5, 0.5, 0.25, 0.25]
    assert found.measured.of("recall@3").tolist() == [1, 1, 1, 1, 1]


def test_a_class_of_one_product_does_not_ask_but_can_be_a_wrong_answer(engine: SearchEngine) -> None:
    found = evaluated(engine, LABELS, Plan("letter", k=3))
    assert found.roles.left_out == {"the only one of its class": 1}
    assert "c1" in found.answers.served[0][:5]
    assert found.by_class()[-1] == {"class": "C", "products": 1, "queries": 0}


def test_products_without_a_label_are_left_out_and_counted(engine: SearchEngine) -> None:
    labels = {name: label for name, label in LABELS.items() if name not in {"b1", "c1"}} | {"c1": "B"}
    found = evaluated(engine, labels, Plan("letter", k=3))
    assert found.roles.left_out == {"no label": 1}
    assert all("b1" not in names for names in found.answers.served)
    assert found.measured.of("map@3")[0] == pytest.approx(1)  # a2 a3 b2


def test_distractors_are_found_and_are_never_right(engine: SearchEngine) -> None:
    labels = {name: label for name, label in LABELS.items() if name not in {"b1", "c1"}} | {"c1": "B"}
    found = evaluated(engine, labels, Plan("letter", k=3), distractors=["b1", "a1"])
    assert found.roles.distractors == {"b1"}
    assert found.answers.served[0][:3] == ["a2", "b1", "a3"]
    assert found.measured.of("map@3")[0] == pytest.approx((1 + 2 / 3) / 2)
    assert as_json(found)["counts"]["searched"] == 6


def test_chosen_queries_ask_and_everything_else_may_be_found(engine: SearchEngine) -> None:
    found = evaluated(engine, LABELS, Plan("letter", k=3), asking={"a1", "a2", "c1"})
    assert found.roles.queries == ["a1", "a2"]
    assert found.answers.served[0][0] == "a2"
    assert found.roles.left_out == {"not among the chosen queries": 3, "the only one of its class": 1}


def test_in_a_split_the_queries_are_not_found(engine: SearchEngine) -> None:
    found = evaluated(engine, LABELS, Plan("letter", k=2), asking={"a1", "a2", "b1", "b2"}, apart=True)
    assert found.roles.queries == ["a1", "a2"]
    assert found.roles.left_out == {"not among the chosen queries": 2, "none of its class may be found": 2}
    assert all(names == ["a3", "c1"] for names in found.answers.served)


@pytest.mark.parametrize("options", [{}, {"asking": {"a1", "b1"}}, {"asking": {"a1", "b1"}, "apart": True}])
def test_every_product_is_a_query_or_left_out_for_one_reason(engine: SearchEngine, options: dict[str, object]) -> None:
    labels = {name: label for name, label in LABELS.items() if name != "b2"}
    counts = as_json(evaluated(engine, labels, Plan("letter", k=1, sample=1), **options))["counts"]
    assert counts["queries"] + sum(counts["left_out"].values()) == counts["products"] == 6


def test_a_sample_is_drawn_by_its_seed_and_the_rest_is_counted(engine: SearchEngine) -> None:
    chosen = {tuple(evaluated(engine, LABELS, Plan("letter", k=1, sample=2, seed=s)).roles.queries) for s in range(9)}
    assert len(chosen) > 1
    first = evaluated(engine, LABELS, Plan("letter", k=1, sample=2, seed=4)).roles
    assert first == evaluated(engine, LABELS, Plan("letter", k=1, sample=2, seed=4)).roles
    assert first.left_out["not drawn"] == 3


def test_a_leak_is_reported_with_the_figures_with_and_without_it(tmp_path: Path) -> None:
    """Each product has a copy and nothing else like it near: only the copies make the answers good."""
    items = [*at("a1", 0), *at("a1 again", 1), *at("b1", 20), *at("b1 again", 21), *at("a2", 90), *at("b2", 110)]
    labels = {item[0]: item[0][0].upper() for item in items}
    copies = {"a1": ["a1 again"], "a1 again": ["a1"], "b1": ["b1 again"], "b1 again": ["b1"]}
    found = evaluated(engine_of(items, tmp_path), labels, Plan("letter", k=1), duplicates=copies)
    without = found.without_duplicates
    assert (without.queries_with, without.answers_with, without.dropped) == (4, 4, 0)
    assert found.scores.micro["map@1"].value == pytest.approx(4 / 6)
    assert without.scores is not None
    assert without.scores.micro["map@1"].value == 0
    assert without.difference["map@1"].value == pytest.approx(-4 / 6)


def test_a_copy_that_may_not_be_found_is_no_leak(engine: SearchEngine) -> None:
    """In a split the copy asks too; without a label it is not searched."""
    split = evaluated(
        engine, LABELS, Plan("letter", k=2), asking={"a1", "a2"}, apart=True, duplicates={"a1": ["a2"], "a2": ["a1"]}
    )
    assert split.without_duplicates.queries_with == 0
    labels = {name: label for name, label in LABELS.items() if name != "a2"}
    unlabelled = evaluated(engine, labels, Plan("letter", k=2), duplicates={"a1": ["a2"]})
    assert unlabelled.without_duplicates.queries_with == 0


def test_a_query_with_nothing_but_copies_is_dropped_without_them(tmp_path: Path) -> None:
    items = [*at("a1", 0), *at("a1 again", 1), *at("b1", 20), *at("b2", 25)]
    labels = {item[0]: item[0][0].upper() for item in items}
    copies = {"a1": ["a1 again"], "a1 again": ["a1"]}
    found = evaluated(engine_of(items, tmp_path), labels, Plan("letter", k=1), duplicates=copies)
    assert found.without_duplicates.dropped == 2
    assert found.without_duplicates.scores is not None
    assert found.without_duplicates.scores.queries == 2
    json = as_json(found)
    assert json["without_duplicates"]["difference"]["map@1"]["value"] == 0


def test_when_copies_are_all_there_is_no_figure_is_made_up(tmp_path: Path) -> None:
    items = [*at("a1", 0), *at("a1 again", 1), *at("b1", 20)]
    copies = {"a1": ["a1 again"], "a1 again": ["a1"]}
    labels = {item[0]: item[0][0].upper() for item in items}
    found = evaluated(engine_of(items, tmp_path), labels, Plan("letter", k=1), duplicates=copies)
    assert found.without_duplicates.scores is None
    assert "map@1" not in as_json(found)["without_duplicates"]


def test_what_annoy_misses_shows_in_the_recall(tmp_path: Path) -> None:
    items = shop(1500, 16, seed=3, clusters=40, crops=0)
    poor = IndexSettings(projection_dims=None, serve_with="annoy", trees=1, search_k=1)
    engine = engine_of(items, tmp_path, poor)
    labels = {item[0]: item[0][-1] for item in items}
    found = evaluated(engine, labels, Plan("digit", k=10, sample=60))
    recall = found.measured.of("recall@10")
    assert 0 < recall.mean() < 1
    assert not found.answers.exact.all()
    for place, name in enumerate(found.roles.queries):
        exact = engine.search(engine.product_query(name), 10, exclude=[name], exact=True).neighbours
        truth = {neighbour.product_id for neighbour in exact}
        assert recall[place] == pytest.approx(len(truth & set(found.answers.served[place][:10])) / 10)


def test_an_exact_search_visits_everything_and_annoy_a_part_that_grows_with_search_k(
    tmp_path: Path, engine: SearchEngine
) -> None:
    assert as_json(evaluated(engine, LABELS, Plan("letter", k=3)))["visited"] == {"mean": 6.0, "most": 6}
    items = shop(1500, 16, seed=3, clusters=40, crops=0)
    means = []
    for search_k in (1, 600):
        settings = IndexSettings(projection_dims=None, serve_with="annoy", trees=10, search_k=search_k)
        searched = engine_of(items, tmp_path / str(search_k), settings)
        found = evaluated(searched, {item[0]: item[0][-1] for item in items}, Plan("digit", sample=30))
        near = ~found.answers.exact
        assert near.any()
        assert (found.answers.visited[near] < 1500).all()
        assert (found.answers.visited[~near] == 1500).all()
        means.append(float(found.answers.visited[near].mean()))
    assert 10 <= means[0] < means[1]


def test_the_visited_items_of_annoy_are_those_that_it_would_return_uncut(tmp_path: Path) -> None:
    items = shop(1500, 16, seed=3, clusters=40, crops=0)
    settings = IndexSettings(projection_dims=None, serve_with="annoy", trees=10, search_k=200)
    engine = engine_of(items, tmp_path, settings)
    query = engine.product_query("p00003")
    answer = engine.search(query, 10)
    assert not answer.exact
    assert answer.search_k >= 200
    seen = engine.index.annoy.nearest(query.vectors[0], 1500, answer.search_k)
    assert engine.visited(query, answer) == len(set(seen.tolist())) < 1500


def test_a_search_has_a_cost_in_time_and_in_processor_time(engine: SearchEngine) -> None:
    found = as_json(evaluated(engine, LABELS, Plan("letter", k=3)))
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    assert found["cpu_ms"]["mean"] > 0


@pytest.mark.parametrize(
    ("labels", "plan", "says"),
    [
        (dict.fromkeys(LABELS, "same"), {}, "all 6 labelled products are 'same'"),
        ({}, {}, "no product has a label"),
        ({"a1": "A", "b1": "B"}, {}, "No product can ask"),
        (LABELS, {"k": 6}, "k is 6, but only 5 products"),
        (LABELS, {"k": 0}, "k is 0"),
        (LABELS, {"sample": 0}, "sample is 0"),
    ],
    ids=["one class", "no labels", "classes of one", "k beyond the shop", "k zero", "empty sample"],
)
def test_what_cannot_be_measured_is_refused_with_a_reason(
    engine: SearchEngine, labels: dict[str, str], plan: dict[str, int], says: str
) -> None:
    with pytest.raises(SettingError, match=says):
        evaluated(engine, labels, Plan("letter", **plan))
