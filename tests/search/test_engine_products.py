"""All products of a search, and the same search over some of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from vetrina.errors import NotFound
from vetrina.index.settings import IndexSettings
from vetrina.search.answers import Standing
from vetrina.search.engine import SearchEngine

sys.path.insert(0, str(Path(__file__).parents[1] / "index"))  # the samples live beside the index tests

from index_samples import Item, opened, shop, table, unit

ITEMS: list[Item] = [
    ("1", "1w", "whole", None, None, unit(np.array([1.0, 0, 0]))),
    ("1", "1a", "crop", "Chair", 0.4, unit(np.array([0, 1.0, 0]))),
    ("1", "1b", "crop", "Table", 0.9, unit(np.array([0, 0, 1.0]))),
    ("2", "2w", "whole", None, None, unit(np.array([1.0, 1, 0]))),
    ("3", "3w", "whole", None, None, unit(np.array([1.0, 0, 1]))),
]


def test_each_product_comes_with_its_whole_picture_and_its_best_label(tmp_path: Path) -> None:
    engine = SearchEngine(opened(ITEMS, tmp_path))
    products = engine.everything()
    assert products.product_ids == ["1", "2", "3"]
    assert products.labels == ["Table", None, None]
    assert products.vectors == pytest.approx(np.stack([ITEMS[0][5], ITEMS[3][5], ITEMS[4][5]]), abs=1e-6)
    assert engine.items == 5


def test_the_tail_counts_and_what_was_removed_does_not(tmp_path: Path) -> None:
    newer = table([("2", "new", "whole", None, None, unit(np.array([0, 0, 1.0])))], "b2")
    products = SearchEngine(opened(ITEMS, tmp_path), tail=newer, removed=["3"]).everything()
    assert products.product_ids == ["1", "2"]
    assert products.vectors[1] == pytest.approx([0, 0, 1])


def test_a_narrowed_search_finds_its_products_alone_and_leaves_the_whole_as_it_was(tmp_path: Path) -> None:
    engine = SearchEngine(opened(ITEMS, tmp_path), removed=["3"])
    narrow = engine.only(["2", "3", "never heard of"])
    assert [found.product_id for found in narrow.search(engine.product_query("1"), 9).neighbours] == ["2"]
    assert narrow.products == 1
    assert engine.products == 2


def test_a_narrowed_search_by_annoy_equals_the_exact_one_over_the_same_products(tmp_path: Path) -> None:
    items = shop(2000, 8, seed=2, clusters=30)
    engine = SearchEngine(opened(items, tmp_path, IndexSettings(projection_dims=None, serve_with="annoy")))
    kept = {f"p{number:05d}" for number in range(0, 2000, 3)}
    narrow = engine.only(kept)
    same = 0
    for number in range(0, 2000, 100):
        query = engine.product_query(f"p{number:05d}")
        served = [found.product_id for found in narrow.search(query, 10).neighbours]
        exact = [found.product_id for found in narrow.search(query, 10, exact=True).neighbours]
        assert len(served) == 10
        assert set(served) <= kept
        same += len(set(served) & set(exact))
    assert same / 200 >= 0.95


@pytest.mark.parametrize("every", [2, 9, 400, 5000])
def test_a_narrowed_search_fills_k_and_misses_nothing_however_few_it_is_about(tmp_path: Path, every: int) -> None:
    items = shop(2000, 8, seed=3, clusters=30)
    engine = SearchEngine(opened(items, tmp_path, IndexSettings(projection_dims=None, serve_with="annoy")))
    kept = [f"p{number:05d}" for number in range(0, 2000, every)]
    narrow = engine.only(kept)
    found = 0
    for number in range(1, 400, 20):
        query = engine.product_query(f"p{number:05d}")
        everything = engine.search(query, 2000, exact=True)
        truth = [other.product_id for other in everything.neighbours if other.product_id in kept][:10]
        answer = narrow.search(query, 10)
        assert answer.available == len(kept)
        assert len(answer.neighbours) == min(10, len(kept))
        found += len({other.product_id for other in answer.neighbours} & set(truth)) / len(truth)
    # Where few are left they are all compared, so nothing is missed; Annoy may miss a few.
    assert found / 20 == 1 if every >= 9 else found / 20 >= 0.97


def test_the_pairs_of_a_query_and_a_product_hold_the_best_one_and_all_others(tmp_path: Path) -> None:
    engine = SearchEngine(opened(ITEMS, tmp_path, IndexSettings(projection_dims=None, crop_penalty=0.25)))
    pairs = engine.pairs(engine.product_query("1"), "2")
    assert [(pair.query_row, pair.item.crop_id) for pair in pairs] == [(0, "2w"), (1, "2w"), (2, "2w")]
    assert [round(pair.cosine, 4) for pair in pairs] == [0.7071, 0.7071, 0.0]
    assert [pair.penalty for pair in pairs] == [0.0, 0.25, 0.25]
    best = engine.only(["2"]).search(engine.product_query("1"), 1).neighbours[0]
    assert best.score == pytest.approx(pairs[0].cosine - pairs[0].penalty)


def test_a_product_of_the_tail_is_known_as_newer(tmp_path: Path) -> None:
    newer = table([("2", "new", "whole", None, None, unit(np.array([0, 0, 1.0])))], "b2")
    engine = SearchEngine(opened(ITEMS, tmp_path), tail=newer)
    assert [engine.in_tail(name) for name in ("1", "2", "3")] == [False, True, False]
    assert sorted(engine.product_ids) == ["1", "2", "3"]


@pytest.mark.parametrize("serve_with", ["exact", "annoy"])
def test_where_a_product_stands_is_told_as_a_list_of_all_has_it_and_without_making_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve_with: str
) -> None:
    same = unit(np.arange(1.0, 9.0))
    alike: list[Item] = [(f"q{number}", f"q{number}", "whole", None, None, same) for number in range(0, 9, 2)]
    settings = IndexSettings(
        projection_dims=None, serve_with=serve_with, trees=2, search_k=20, crop_penalty=0.1, crop_crop_penalty=0.03
    )
    index = opened([*shop(600, 8, seed=2, clusters=30), *alike], tmp_path, settings)
    newer = [(f"q{number}", "new", "whole", None, None, same) for number in range(1, 9, 2)]
    newer += [("p00003", "new", "crop", "Chair", 0.5, same)]
    engine = SearchEngine(index, tail=table(newer, "b2"), removed=["p00007", "q4"])
    seen = set()
    for asks in ("p00000", "p00003", "q0", "q1"):
        query = engine.product_query(asks)
        everything = engine.search(query, engine.products, exclude=[asks], exact=True).neighbours
        ranks = {neighbour.product_id: rank for rank, neighbour in enumerate(everything, 1)}
        named = [*list(ranks)[:20], *list(ranks)[20::40]]
        found = {
            name: name in [other.product_id for other in engine.search(query, ranks[name], exclude=[asks]).neighbours]
            for name in named
        }
        with monkeypatch.context() as patch:
            patch.setattr("vetrina.search.engine.Neighbour", None)
            for name in named:
                assert engine.standing(query, name, exclude=[asks]) == Standing(ranks[name], len(ranks), found[name])
        seen |= set(found.values())
    assert seen == ({True} if serve_with == "exact" else {True, False})


def test_where_an_unknown_product_stands_is_not_known(tmp_path: Path) -> None:
    engine = SearchEngine(opened(ITEMS, tmp_path), removed=["3"])
    with pytest.raises(NotFound, match="no product '3'"):
        engine.standing(engine.product_query("1"), "3")
