"""The table of similar products as the index makes it: the same rules, and how much it finds is measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_samples import LABELS, Item, opened, shop, unit

from vetrina.errors import SettingError
from vetrina.index import candidates as module
from vetrina.index import table as table_module
from vetrina.index import table_search as search_module
from vetrina.index.candidates import AnnoySearch
from vetrina.index.reader import Index
from vetrina.index.settings import IndexSettings, TableSettings
from vetrina.index.table import Pictures, similar_products
from vetrina.index.table_search import TableSearch, exact_work, table_search
from vetrina.pictures.prints import Prints
from vetrina.settings import Settings

DIMS = 6
PENALISED = IndexSettings(projection_dims=None, crop_penalty=0.1, crop_crop_penalty=0.03)
POOR = replace(PENALISED, trees=3, search_k=80, serve_with="annoy", recall_sample=200, recall_target=0.95)
BY_INDEX = TableSettings(10, made_by="index")


def made(index: Index, k: int, **how: Any) -> pa.Table:
    return pa.concat_tables(similar_products(index, k, min_score=None, **how))


def found(index: Index, settings: TableSettings, *, workers: int = 1) -> TableSearch:
    table = partial(similar_products, index, settings.neighbours, same_class=settings.same_class, min_score=None)

    def lines(part: np.ndarray, search: AnnoySearch | None) -> Iterator[pa.Table]:
        return table(part=part, search=search)

    return table_search(index, settings, lines, workers)


def pictures(index: Index, seed: int) -> Pictures:
    """Every item shows one of half as many pictures, all of them different."""
    count = max(2, len(index.rows) // 2)
    cells = np.zeros((count, 16, 16, 3), np.uint8)
    cells[:, 0, 0, 0], cells[:, 0, 0, 1] = np.arange(count) % 200, np.arange(count) // 200 * 40
    hashes = np.random.default_rng(seed).integers(0, 2**63, count).astype(np.uint64)
    of_item = np.random.default_rng(seed).integers(0, count, len(index.rows))
    return Pictures(Prints(np.ones(count, bool), hashes, cells), of_item)


def crowd(copies: int) -> list[Item]:
    same = unit(np.arange(1.0, DIMS + 1))
    return [(f"same{n:03d}", f"s{n}", "crop", LABELS[n % 2], 0.5, same) for n in range(copies)]


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 99),
    k=st.sampled_from([1, 5, 12]),
    same_class=st.booleans(),
    hide=st.booleans(),
    copies=st.sampled_from([0, 40]),
    looked_at=st.sampled_from([0, 4096]),
    workers=st.sampled_from([1, 3]),
)
def test_with_ample_search_it_is_the_exact_table(
    seed: int, k: int, same_class: bool, hide: bool, copies: int, looked_at: int, workers: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LOOKED_AT", looked_at)
        index = opened([*shop(200, DIMS, seed=seed), *crowd(copies)], Path(folder), POOR)
        shown = pictures(index, seed) if hide else None
        exact = made(index, k, same_class=same_class, pictures=shown)
        lines: list[int] = []
        real = module._line_of
        patch.setattr(module, "_line_of", lambda *given: (lines.append(given[2]), real(*given))[1])
        ample = AnnoySearch(index.annoy, 20 * len(index.rows), workers)
        assert made(index, k, same_class=same_class, pictures=shown, search=ample).equals(exact)
        if k < 12 and not (same_class or hide or copies):
            assert len(lines) < index.rows.products / 2, "the test must exercise Annoy"


@pytest.mark.parametrize("by_index", [False, True])
@pytest.mark.parametrize("same_class", [False, True])
def test_products_that_show_one_picture_are_not_asked_for_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_class: bool, by_index: bool
) -> None:
    index = opened([*shop(150, DIMS, seed=1), *crowd(60)], tmp_path, POOR)
    rows, k = index.rows, 5
    one_each = np.minimum(rows.product_of, rows.products - 60)  # the crowd comes last
    count = int(one_each[-1]) + 1
    cells = np.zeros((count, 16, 16, 3), np.uint8)
    cells[:, 0, 0, 0] = np.arange(count) * 200 // count
    hashes = np.random.default_rng(0).integers(0, 2**63, count).astype(np.uint64)
    shown = Pictures(Prints(np.ones(count, bool), hashes, cells), one_each)
    asked: list[int] = []
    real = table_module.without_repeats
    monkeypatch.setattr(table_module, "without_repeats", lambda *given: (asked.append(len(given[2])), real(*given))[1])
    crowded = range(rows.products - 60, rows.products)
    search = AnnoySearch(index.annoy, 20 * len(rows)) if by_index else None
    got = made(index, k, same_class=same_class, pictures=shown, part=crowded, search=search).to_pylist()
    assert asked == [k] * 60
    everything = made(index, rows.products, same_class=same_class, part=crowded).to_pylist()
    expected = [line for line in everything if not line["similar_id"].startswith("same")]
    for at, product in enumerate(crowded):
        own = [line for line in expected if line["product_id"] == rows.product_id(product)][:k]
        assert [line | {"rank": rank} for rank, line in enumerate(own, 1)] == got[at * k : at * k + k]


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """An index that finds few neighbours as it serves."""
    return opened(shop(800, 12, seed=5, clusters=40), tmp_path_factory.mktemp("poor"), POOR)


def test_a_poor_search_misses_some_fills_k_all_the_same_and_scores_exactly(poor: Index) -> None:
    exact = made(poor, 10, same_class=False)
    weak = made(poor, 10, same_class=False, search=AnnoySearch(poor.annoy, 40))
    assert weak.num_rows == exact.num_rows == poor.rows.products * 10
    columns = ("product_id", "similar_id", "score")
    true = set(zip(*(exact[name].to_pylist() for name in columns), strict=True))
    got = list(zip(*(weak[name].to_pylist() for name in columns), strict=True))
    assert 0.2 < sum(line in true for line in got) / len(got) < 0.99
    some = np.arange(0, poor.rows.products, 90)
    whole = made(poor, poor.rows.products, same_class=False, part=some)
    everything = set(zip(*(whole[name].to_pylist() for name in columns), strict=True))
    asked = set(poor.rows.product_ids(some))
    assert all(line in everything for line in got if line[0] in asked)


def test_the_search_goes_deeper_than_the_index_serves_until_the_bound_meets_the_target(poor: Index) -> None:
    how = found(poor, BY_INDEX)
    assert how.made_by == "index" and how.search is not None
    assert how.recall["search_k"] == how.search.nodes > poor.manifest.annoy["search_k"] == 80
    assert (how.recall["met"], how.recall["target"], how.recall["queries"], how.recall["k"]) == (True, 0.95, 200, 10)
    assert 0.95 <= how.recall["lower_95"] < how.recall["recall"] <= 1
    # Less would not have done.
    less = AnnoySearch(poor.annoy, int(how.search.nodes / 1.34))
    exact, shallow = (made(poor, 10, same_class=False, **by) for by in ({}, {"search": less}))
    pairs = [
        set(zip(*(one[n].to_pylist() for n in ("product_id", "similar_id")), strict=True)) for one in (exact, shallow)
    ]
    assert len(pairs[0] & pairs[1]) / len(pairs[0]) < 0.985


def test_the_choice_is_the_same_again_and_with_more_workers(poor: Index) -> None:
    first, again = found(poor, BY_INDEX), found(poor, BY_INDEX, workers=3)
    assert again.recall == first.recall
    assert first.search is not None and again.search is not None and again.search.nodes == first.search.nodes


@pytest.mark.parametrize("same_class", [False, True])
def test_what_is_stated_is_what_comparing_all_lines_gives(tmp_path: Path, same_class: bool) -> None:
    weak = replace(POOR, recall_sample=5000, recall_target=0.5)
    index = opened(shop(400, 12, seed=6, clusters=30), tmp_path, weak)
    how = found(index, TableSettings(7, same_class=same_class, made_by="index"))
    assert how.search is not None and how.recall["queries"] == 400
    exact, got = (made(index, 7, same_class=same_class, **by) for by in ({}, {"search": how.search}))
    columns = ("product_id", "similar_id")
    true, lines = (set(zip(*(one[name].to_pylist() for name in columns), strict=True)) for one in (exact, got))
    assert how.recall["recall"] == how.recall["lower_95"] == pytest.approx(len(true & lines) / len(true), abs=1e-9)
    assert 0.5 <= how.recall["recall"] < 1


def test_auto_compares_all_up_to_the_stated_work_and_lets_the_index_find_beyond(
    poor: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = len(poor.rows)
    assert exact_work(poor) == 2.0 * items * items * 12
    monkeypatch.setattr(search_module, "EXACT_WORK", exact_work(poor))
    few = found(poor, TableSettings(10))
    assert (few.made_by, few.recall) == ("exact", {})
    assert few.why == f"{items} items of 12 dimensions are few enough to compare all"
    monkeypatch.setattr(search_module, "EXACT_WORK", exact_work(poor) - 1)
    assert found(poor, TableSettings(10)).why.startswith("the recall target is out of the index's reach: 0."), (
        "visiting an eighth of the items does not do"
    )
    monkeypatch.setattr(search_module, "_SHARE", 1)
    many = found(poor, TableSettings(10))
    assert many.made_by == "index" and many.recall == found(poor, BY_INDEX).recall
    assert many.why == f"{items} items of 12 dimensions are too many to compare all"
    monkeypatch.setattr(search_module, "EXACT_WORK", 4.9 * exact_work(poor))
    assert found(poor, TableSettings(10)).made_by == "exact"
    by_class = TableSettings(10, same_class=True)
    assert found(poor, by_class).made_by == "index", "comparing all by class takes longer"
    monkeypatch.setattr(search_module, "EXACT_WORK", 5.1 * exact_work(poor))
    assert found(poor, by_class).made_by == "exact"
    said = found(poor, TableSettings(10, made_by="exact"))
    assert (said.search, said.why) == (None, "the setting VETRINA_TABLE says so")


def test_where_the_target_is_out_of_reach_auto_compares_all_and_the_setting_goes_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "EXACT_WORK", 0.0)
    index = opened(shop(300, DIMS, seed=1), tmp_path, replace(POOR, recall_target=1.0, trees=20, search_k=400))
    how = found(index, TableSettings(10))
    assert how.made_by == "exact" and how.recall == {}
    assert how.why.startswith("the recall target is out of the index's reach: 0.9")
    ahead = found(index, BY_INDEX)
    assert ahead.made_by == "index" and ahead.recall["met"] is False and ahead.recall["lower_95"] < 1


def test_one_product_and_copies_of_one_picture_miss_nothing(tmp_path: Path) -> None:
    one = opened([("only", "c", "whole", None, None, unit(np.ones(DIMS)))], tmp_path / "one", PENALISED)
    assert found(one, BY_INDEX).recall["recall"] == 1.0
    # Whichever of them are listed, they are as near as the others.
    copies = opened(crowd(500), tmp_path / "copies", replace(POOR, recall_target=0.9))
    assert found(copies, BY_INDEX).recall["recall"] == 1.0


def test_a_way_of_making_the_table_that_is_not_known_is_refused() -> None:
    with pytest.raises(SettingError, match="VETRINA_TABLE is 'annoy'; use one of auto, exact, index"):
        TableSettings(made_by="annoy")
    with pytest.raises(SettingError, match="VETRINA_TABLE is 'fast'; use one of auto, exact, index"):
        Settings.from_environment({"VETRINA_TABLE": "fast"})
