from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from index_samples import shop, unit

from vetrina.errors import SettingError, StoreError
from vetrina.index import tuning
from vetrina.index.annoy_file import AnnoyFile, build_file
from vetrina.index.recall import LabelAudit, exact_truth, lower_bound, outside_truth, recalls
from vetrina.index.sampling import from_outside
from vetrina.index.settings import IndexSettings
from vetrina.index.tuning import tune


def clustered(count: int, dims: int, seed: int = 0) -> np.ndarray:
    return np.array([item[5] for item in shop(count, dims, seed=seed, clusters=40, crops=0)])


@given(st.lists(st.integers(0, 10), min_size=1, max_size=60))
def test_the_lower_bound_is_a_share_below_the_mean(hits: list[int]) -> None:
    shares = np.array(hits) / 10
    assert 0.0 <= lower_bound(shares, 10) <= shares.mean() + 1e-12


def test_the_lower_bound_rises_with_the_queries_and_never_claims_certainty() -> None:
    bounds = [lower_bound(np.ones(count), 10) for count in (1, 10, 100, 400)]
    assert bounds == sorted(bounds) and bounds[0] < 0.9 and 0.993 < bounds[-1] < 1.0
    assert lower_bound(np.array([]), 10) == 0.0


def test_misses_that_come_together_weigh_more_than_scattered_ones() -> None:
    scattered = np.full(400, 1.0)
    scattered[:40] = 0.9
    together = np.full(400, 1.0)
    together[:4] = 0.0
    assert scattered.mean() == pytest.approx(together.mean())
    assert lower_bound(together, 10) < lower_bound(scattered, 10)


@pytest.mark.parametrize("truth", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("together", [False, True])
def test_the_lower_bound_is_below_the_truth_in_most_draws(truth: float, together: bool) -> None:
    rng = np.random.default_rng(8)
    # Beta-distributed queries: some hard, most easy.
    share = rng.beta(truth * 3, (1 - truth) * 3, (1500, 400)) if together else np.full((1500, 400), truth)
    draws = rng.binomial(10, share) / 10
    above = np.mean([lower_bound(draw, 10) > truth for draw in draws])
    assert above <= 0.065


def test_the_measured_recall_is_the_true_recall(tmp_path: Path) -> None:
    vectors = clustered(3000, 6)
    build_file(vectors, tmp_path / "x.ann", trees=3, seed=1)
    index = AnnoyFile(tmp_path / "x.ann", vectors)
    queries = np.arange(0, 3000, 30)
    measured = recalls(vectors, index, exact_truth(vectors, queries, 10), 40)
    for query, share in zip(queries, measured, strict=True):
        scores = vectors.astype(float) @ vectors[query]
        scores[query] = -9
        truth = set(np.argsort(-scores)[:10].tolist())
        found = [row for row in index.nearest(vectors[query], 11, 40).tolist() if row != query][:10]
        assert share == pytest.approx(len(truth & set(found)) / 10)
    assert 0.2 < measured.mean() < 0.98, "the test must see misses"


def test_copies_of_a_picture_do_not_look_like_misses(tmp_path: Path) -> None:
    vectors = np.repeat(clustered(40, 5), 30, axis=0)
    build_file(vectors, tmp_path / "x.ann", trees=10, seed=1)
    found = recalls(vectors, AnnoyFile(tmp_path / "x.ann", vectors), exact_truth(vectors, np.arange(50), 10), 600)
    assert (found == 1.0).all()


def test_search_k_grows_until_the_bound_meets_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_FIRST_SEARCH_K", 20)
    vectors = clustered(4000, 12)
    low = tune(vectors, np.zeros(4000, int), tmp_path / "a.ann", IndexSettings(recall_target=0.8))
    high = tune(vectors, np.zeros(4000, int), tmp_path / "b.ann", IndexSettings(recall_target=0.99))
    assert low.met and high.met
    assert 0.8 <= low.chosen.lower <= low.chosen.recall and 0.99 <= high.chosen.lower <= high.chosen.recall
    assert low.chosen.search_k < high.chosen.search_k
    index = AnnoyFile(tmp_path / "b.ann", vectors)
    everything = recalls(vectors, index, exact_truth(vectors, np.arange(4000), 10), high.chosen.search_k)
    assert everything.mean() >= 0.99, "the promise holds for all items, not only for the sample"


def test_explicit_trees_and_search_k_are_used_and_still_measured(tmp_path: Path) -> None:
    vectors = clustered(3000, 8)
    tuned = tune(vectors, np.zeros(3000, int), tmp_path / "x.ann", IndexSettings(trees=2, search_k=15))
    assert (tuned.chosen.trees, tuned.chosen.search_k) == (2, 15)
    assert not tuned.met and 0.0 < tuned.chosen.recall < 0.99
    assert tuned.serve_with == "exact" and "out of reach" in tuned.reason


def test_more_trees_are_built_when_search_alone_does_not_reach_the_target(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(1).standard_normal((2500, 24)))
    tuned = tune(vectors, np.zeros(2500, int), tmp_path / "x.ann", IndexSettings(search_k=900, recall_target=0.98))
    assert tuned.met and tuned.chosen.trees > 40 and tuned.chosen.search_k == 900


def test_serving_follows_the_setting_and_says_so(tmp_path: Path) -> None:
    vectors = clustered(300, 4)
    for serve in ("annoy", "exact"):
        tuned = tune(vectors, np.zeros(300, int), tmp_path / "x.ann", IndexSettings(serve_with=serve))
        assert tuned.serve_with == serve and "setting" in tuned.reason
    assert tuned.exact_ms > 0 and tuned.annoy_ms > 0


def test_few_items_are_noted_to_share_one_leaf(tmp_path: Path) -> None:
    few = tune(clustered(10, 8), np.zeros(10, int), tmp_path / "x.ann", IndexSettings())
    assert "one Annoy leaf" in few.note and few.chosen.recall == few.chosen.lower == 1.0 and few.k == 9
    assert tune(clustered(300, 8), np.zeros(300, int), tmp_path / "y.ann", IndexSettings()).note == ""


def test_recall_is_given_for_every_label_however_few_its_items(tmp_path: Path) -> None:
    labels = np.zeros(900, int)
    labels[5], labels[10:40] = 1, 2
    tuned = tune(clustered(900, 6), labels, tmp_path / "x.ann", IndexSettings())
    assert [(entry["label"], entry["queries"]) for entry in tuned.by_label] == [(0, 400), (2, 30), (1, 1)]
    assert all(0.0 <= entry["recall"] <= 1.0 for entry in tuned.by_label)


def test_an_index_that_the_disk_cannot_hold_is_refused_before_it_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.eye(8, dtype=np.float32)
    build_file(vectors, tmp_path / "fits", trees=4, seed=1)
    size = (tmp_path / "fits").stat().st_size
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=size // 4))
    with pytest.raises(StoreError, match="MB free; free some room"):
        build_file(vectors, tmp_path / "too large", trees=4, seed=1)
    assert not (tmp_path / "too large").exists()


def test_what_was_measured_is_kept_and_the_least_search_that_meets_the_target_is_chosen(tmp_path: Path) -> None:
    vectors = clustered(4000, 12)
    tuned = tune(vectors, np.full(4000, -1), tmp_path / "x.ann", IndexSettings(recall_target=0.97))
    searches = [point.search_k for point in tuned.frontier]
    assert searches == sorted(set(searches)) and len(searches) > 2
    assert tuned.chosen == next(point for point in tuned.frontier if point.lower >= 0.97)
    assert all(point.cpu_ms > 0 and point.trees == 40 for point in tuned.frontier)
    described = tuned.as_json()
    assert [point["search_k"] for point in described["frontier"]] == searches
    assert described["lower_95"] == tuned.chosen.lower and described["queries"] == 400


def test_queries_from_outside_meet_the_target_at_a_search_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "_exact_ms", lambda vectors, truth: 1e9)  # exact search never pays
    monkeypatch.setattr(tuning, "_FIRST_SEARCH_K", 20)
    vectors = clustered(6000, 12)
    tuned = tune(vectors, np.full(6000, -1), tmp_path / "x.ann", IndexSettings(recall_target=0.9))
    assert tuned.outside is not None and tuned.outside.outside_lower >= 0.9
    assert tuned.outside.search_k > tuned.chosen.search_k, "a stored item is easier to find around"
    fresh = from_outside(vectors, 1000, np.random.default_rng(99))
    index = AnnoyFile(tmp_path / "x.ann", vectors)
    truth = outside_truth(vectors, fresh, 10)
    assert recalls(vectors, index, truth, tuned.outside.search_k).mean() >= 0.9, "it holds for other queries too"
    for vector, kth in zip(fresh[:20].astype(float), truth.kth, strict=False):
        assert np.sort(vectors @ vector)[-10] == pytest.approx(kth, abs=1e-5)


def test_queries_from_outside_are_searched_exactly_where_annoy_does_not_meet_the_target(tmp_path: Path) -> None:
    vectors = clustered(3000, 8)
    tuned = tune(vectors, np.full(3000, -1), tmp_path / "x.ann", IndexSettings(trees=2, search_k=15))
    assert tuned.outside is None and tuned.as_json()["outside"] is None


@pytest.mark.parametrize(("budget", "kept"), [(1e-6, False), (1e6, True)])
def test_a_budget_of_time_comes_after_recall_and_the_reason_says_whether_it_is_kept(
    tmp_path: Path, budget: float, kept: bool
) -> None:
    vectors = clustered(1500, 8)
    settings = IndexSettings(query_ms=budget, serve_with="annoy", recall_target=0.95)
    tuned = tune(vectors, np.full(1500, -1), tmp_path / "x.ann", settings)
    assert tuned.met and tuned.within_budget is kept and tuned.as_json()["within_budget"] is kept
    # Out of time there are more trees to be tried; the file is that of the setting that was chosen.
    assert {point.trees for point in tuned.frontier} == ({40} if kept else {40, 80, 160})
    build_file(vectors, tmp_path / "again.ann", trees=tuned.chosen.trees, seed=settings.seed)
    assert (tmp_path / "again.ann").read_bytes() == (tmp_path / "x.ann").read_bytes()
    assert ("within the budget of" if kept else "recall comes first") in tuned.reason
    assert "VETRINA_QUERY_MS" in tuned.reason


def test_without_a_budget_nothing_is_said_of_it(tmp_path: Path) -> None:
    tuned = tune(clustered(300, 4), np.full(300, -1), tmp_path / "x.ann", IndexSettings())
    assert tuned.within_budget is None and "budget" not in tuned.reason


def hard_and_easy() -> tuple[np.ndarray, np.ndarray]:
    """A class of scattered items (code 0) among many that lie close together in clusters (code 1)."""
    rng = np.random.default_rng(4)
    scattered = unit(rng.standard_normal((600, 12)))
    return np.concatenate([scattered, clustered(3000, 12)]), np.repeat([0, 1], [600, 3000])


def test_a_class_that_annoy_serves_badly_is_below_the_target_and_the_others_are_not(tmp_path: Path) -> None:
    vectors, labels = hard_and_easy()
    tuned = tune(vectors, labels, tmp_path / "x.ann", IndexSettings(trees=40, search_k=300, recall_target=0.95))
    below = {entry["label"]: entry["below_target"] for entry in tuned.by_label}
    assert below == {0: True, 1: False}
    assert tuned.as_json()["exact_classes"] == [0]
    unlabelled = np.where(labels == 0, -1, labels)
    again = tune(vectors, unlabelled, tmp_path / "y.ann", IndexSettings(trees=40, search_k=300, recall_target=0.95))
    assert again.as_json()["exact_classes"] == [], "items without a label are no class"


def test_a_little_more_search_is_spent_before_a_class_is_given_up(tmp_path: Path) -> None:
    vectors, labels = hard_and_easy()
    without = tune(vectors, np.full(len(labels), -1), tmp_path / "x.ann", IndexSettings(recall_target=0.95))
    tuned = tune(vectors, labels, tmp_path / "y.ann", IndexSettings(recall_target=0.95))
    assert without.chosen.search_k < tuned.chosen.search_k <= 4 * without.chosen.search_k
    assert tuned.chosen in tuned.frontier
    assert not any(entry["below_target"] for entry in tuned.by_label)


@pytest.mark.parametrize(
    ("sizes", "queries"), [([25] * 300, 13), ([25] * 195 + [3] * 205, 17), ([1000] + [2] * 1900, 200), ([2] * 4500, 1)]
)
def test_every_class_is_measured_however_many_there_are(sizes: list[int], queries: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    vectors = unit(np.random.default_rng(0).standard_normal((len(labels), 4)))
    audit = LabelAudit.of(vectors, labels, IndexSettings(), np.random.default_rng(0), "cpu")
    numbers = {code: number for code, number, _ in audit.labels}
    assert sorted(numbers) == list(range(len(sizes)))
    assert [numbers[code] for code in range(len(sizes))] == [min(size, queries) for size in sizes]
    assert len(audit.truth.queries) == sum(numbers.values()) <= max(4000, len(sizes))
    for code, number, census in audit.labels:
        assert census is (number == sizes[code])


def test_a_class_with_too_few_queries_for_any_bound_is_judged_by_its_mean(tmp_path: Path) -> None:
    vectors = clustered(3000, 6)
    labels = np.arange(3000) % 60  # 50 items of each of 60 classes: every item is asked for
    tuned = tune(vectors, labels, tmp_path / "x.ann", IndexSettings())
    assert {entry["queries"] for entry in tuned.by_label} == {50}
    assert all(entry["lower_95"] == entry["recall"] for entry in tuned.by_label)
    many = tune(vectors, np.arange(3000) % 15, tmp_path / "y.ann", IndexSettings(recall_sample=100))
    assert {entry["queries"] for entry in many.by_label} == {100}
    assert all(entry["lower_95"] < entry["recall"] for entry in many.by_label)
    assert not any(entry["below_target"] for entry in many.by_label if entry["recall"] >= 0.99)


def test_a_budget_that_is_no_number_of_milliseconds_is_refused() -> None:
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(SettingError, match="query_ms is"):
            IndexSettings(query_ms=wrong)
