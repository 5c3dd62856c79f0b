from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from index_samples import shop, unit

from vetrina.errors import StoreError
from vetrina.index import tuning
from vetrina.index.annoy_file import AnnoyFile, build_file
from vetrina.index.recall import exact_truth, lower_bound, recalls
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
