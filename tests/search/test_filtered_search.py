"""Filtered searches that read cells: the right answers, and fewer items read for them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.index.cells import build_cells
from vetrina.index.reader import Index
from vetrina.index.rows import Rows
from vetrina.index.settings import IndexSettings
from vetrina.search import engine as engine_module
from vetrina.search import ways
from vetrina.search.answers import Query
from vetrina.search.engine import SearchEngine

sys.path.insert(0, str(Path(__file__).parents[1] / "index"))  # the samples live beside the index tests

from index_samples import LABELS, Item, opened, shop, table, unit
from test_engine import PENALTIES, assert_same, oracle, queries, shops

SETTINGS = IndexSettings(projection_dims=None, crop_penalty=0.1, crop_crop_penalty=0.05, serve_with="annoy")
EVERYTHING = 50.0  # a share at which no cell is left out


@contextmanager
def by_cells_only(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """However few items there are, a filtered search reads cells."""
    with patch.context() as patched:
        patched.setattr(engine_module, "FEW", 0)
        patched.setattr(engine_module, "ONE_IN", 0)
        yield


def with_cells(index: Index, share: float) -> Index:
    manifest = replace(index.manifest, cells={"count": 0, "share": share, "filters": []})
    return replace(index, manifest=manifest, cells=build_cells(index.rows.vectors, 1))


@settings(max_examples=80, deadline=None)
@given(data=st.data(), items=shops(), share=st.sampled_from([EVERYTHING, 0.7, 0.0]))
def test_cells_answer_as_brute_force_does_when_they_promise_enough_and_are_never_wrong(
    data: st.DataObject, items: list[Item], share: float
) -> None:
    products = sorted({item[0] for item in items})
    query = data.draw(queries(items))
    k = data.draw(st.integers(1, 15))
    exclude = data.draw(st.lists(st.sampled_from([*products, "never heard of"]), max_size=5))
    removed = data.draw(st.sets(st.sampled_from(products), max_size=3))
    classes = data.draw(st.none() | st.sets(st.sampled_from(LABELS)))
    passing = data.draw(st.none() | st.sets(st.sampled_from(products)))
    floor = data.draw(st.none() | st.sampled_from([-0.5, 0.3]))
    in_tail = data.draw(st.sets(st.sampled_from(products), max_size=len(products) - 1))
    body = [item for item in items if item[0] not in in_tail]
    tail = [item for item in items if item[0] in in_tail]
    with tempfile.TemporaryDirectory() as folder, by_cells_only(pytest.MonkeyPatch()):
        index = with_cells(opened(body, Path(folder), SETTINGS), share)
        engine = SearchEngine(index, tail=table(tail, "b2") if tail else None, removed=removed)
        if passing is not None:
            engine = engine.only(passing)
        answer = engine.search(query, k, exclude=exclude, classes=classes, min_score=floor)
    hidden = {*exclude, *removed, *(() if passing is None else set(products) - passing)}
    limits = {"penalties": PENALTIES, "exclude": hidden, "classes": classes}
    everything, available = oracle(items, query, len(products), **limits)  # type: ignore[arg-type]
    expected, _ = oracle(items, query, k, **limits, min_score=floor or -9.0)  # type: ignore[arg-type]
    assert answer.available == available
    true = dict(everything)
    for found in answer.neighbours:
        assert found.score == pytest.approx(true[found.product_id], abs=1e-6)
    if floor is None:
        assert len(answer.neighbours) == min(k, available)
    # A score on the edge of the floor may fall on either side by rounding.
    if (share == EVERYTHING or answer.exact) and (floor is None or len(answer.neighbours) == len(expected)):
        assert_same(answer, expected)


@pytest.fixture(scope="module")
def items() -> list[Item]:
    """5 000 products around 60 centres, about 10 000 items; every label has some 1 600."""
    return shop(5000, 12, seed=3, clusters=60)


@pytest.fixture(scope="module")
def index(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Index:
    settings = IndexSettings(projection_dims=None, serve_with="annoy", crop_penalty=0.02, trees=10)
    return opened(items, tmp_path_factory.mktemp("filtered"), settings)


@pytest.fixture
def by_cells(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The classes here have fewer items than are read by cells otherwise, and hardly more than are read at first."""
    monkeypatch.setattr(engine_module, "FEW", 500)
    monkeypatch.setattr(ways, "_FIRST_READ", 100)
    yield


def recall(engine: SearchEngine, asked: list[Query], classes: set[str] | None) -> tuple[float, float]:
    """Of the ten nearest, and the mean number of items read; every answer must be an approximate one."""
    shares, read = [], []
    for query in asked:
        true = engine.search(query, 10, classes=classes, exact=True)
        answer = engine.search(query, 10, classes=classes)
        assert true.exact and not answer.exact and answer.available == true.available
        assert len(answer.neighbours) == 10 and answer.search_k == 0
        kth = true.neighbours[-1].score
        shares.append(np.mean([neighbour.score >= kth for neighbour in answer.neighbours]))
        read.append(answer.read)
    return float(np.mean(shares)), float(np.mean(read))


def photos(count: int) -> list[Query]:
    rng = np.random.default_rng(8)
    return [Query(unit(rng.standard_normal((2, 12))), ("whole", "crop")) for _ in range(count)]


def products(engine: SearchEngine) -> list[Query]:
    return [engine.product_query(f"p{number:05d}") for number in range(0, 5000, 50)]


@pytest.mark.parametrize("asked", [products, lambda _: photos(60)], ids=["products", "photos"])
@pytest.mark.parametrize("classes", [{"Chair"}, {"Chair", "Dress"}])
def test_a_class_is_searched_by_cells_and_nearly_all_true_neighbours_are_found(
    index: Index, by_cells: None, asked: Callable[[SearchEngine], list[Query]], classes: set[str]
) -> None:
    engine = SearchEngine(index)
    found, read = recall(engine, asked(engine), classes)
    assert found >= 0.985
    assert read < 0.8 * len(index.rows.items_labelled(classes))


@pytest.mark.parametrize("part", [2, 8])
def test_products_that_pass_a_filter_are_searched_by_cells_whatever_their_share(
    index: Index, by_cells: None, part: int
) -> None:
    drawn = np.random.default_rng(part).choice(5000, 5000 // part, replace=False)
    engine = SearchEngine(index).only([f"p{number:05d}" for number in drawn])
    found, read = recall(engine, products(SearchEngine(index)), None)
    assert found >= 0.985
    assert read < 0.8 * len(index.rows) / part


def test_without_a_filter_annoy_is_asked(index: Index) -> None:
    engine = SearchEngine(index, removed=[f"p{number:05d}" for number in range(200)])
    answer = engine.search(engine.product_query("p00300"), 10)
    assert answer.search_k > 0 and answer.read == 0 and not answer.exact


def test_few_items_are_read_at_once(index: Index) -> None:
    engine = SearchEngine(index)
    assert len(index.rows.items_labelled({"Chair"})) < engine_module.FEW
    answer = engine.search(engine.product_query("p00300"), 10, classes={"Chair"})
    assert answer.exact and answer.read == 0


def test_many_neighbours_of_few_products_are_found_by_reading_all(index: Index, by_cells: None) -> None:
    engine = SearchEngine(index)
    query = engine.product_query("p00300")
    assert engine.search(query, 1000, classes={"Chair"}).exact
    assert not engine.search(query, 30, classes={"Chair"}).exact


def test_a_lowest_score_leaves_what_reaches_it(index: Index, by_cells: None) -> None:
    engine = SearchEngine(index)
    query = engine.product_query("p00300")
    plain = engine.search(query, 100, classes={"Chair"})
    answer = engine.search(query, 100, classes={"Chair"}, min_score=plain.neighbours[4].score)
    assert answer.neighbours == plain.neighbours[:5]
    assert not answer.exact and answer.available == plain.available


def test_few_neighbours_and_many_query_rows_are_searched_as_deeply_as_was_measured(
    index: Index, by_cells: None
) -> None:
    engine = SearchEngine(index)
    query = engine.product_query("p00300")
    one, ten, twenty = (engine.search(query, k, classes={"Chair"}) for k in (1, 10, 20))
    assert one.read == ten.read < twenty.read
    assert one.neighbours == ten.neighbours[:1]
    thrice = Query(np.repeat(query.vectors[:1], 3, axis=0), ("whole",) * 3, projected=True, stored=True)
    alone = replace(thrice, vectors=thrice.vectors[:1], kinds=("whole",))
    assert engine.search(thrice, 10, classes={"Chair"}).read == engine.search(alone, 30, classes={"Chair"}).read


def test_the_tail_and_what_was_removed_count_in_a_filtered_search(
    items: list[Item], index: Index, by_cells: None
) -> None:
    query = SearchEngine(index).product_query("p00300")
    nearest = [n.product_id for n in SearchEngine(index).search(query, 30, classes={"Chair"}).neighbours]
    moved = [("new", "c", "crop", "Chair", 0.5, query.vectors[0]), (nearest[0], "c", "crop", "Dress", 0.5, items[0][5])]
    engine = SearchEngine(index, tail=table(moved, "b2"), removed=nearest[1:9])
    answer = engine.search(query, 10, classes={"Chair"}, exclude=nearest[9:12])
    assert not answer.exact
    assert [n.product_id for n in answer.neighbours] == ["new", *nearest[12:21]]
    before = SearchEngine(index).search(query, 1, classes={"Chair"}).available
    assert answer.available == before + 1 - 12


def test_equal_products_come_in_the_order_of_their_ids_within_a_filter(tmp_path: Path, by_cells: None) -> None:
    same = unit(np.arange(1.0, 9.0))
    many = [(f"{n:04d}", "c", "crop", "Chair", 0.5, same) for n in np.random.default_rng(0).permutation(900)]
    others = [item for item in shop(900, 8, seed=6, crops=1) if item[3] is not None]
    index = with_cells(opened([*many, *others], tmp_path, SETTINGS), 0.7)
    answer = SearchEngine(index).search(Query(same[None], ("whole",)), 9, classes={"Chair", "Dress"})
    assert not answer.exact
    assert [neighbour.product_id for neighbour in answer.neighbours] == [f"{n:04d}" for n in range(9)]


def test_items_that_a_filtered_search_compared_are_counted(index: Index, by_cells: None, items: list[Item]) -> None:
    fresh = [("new", "c", "whole", None, None, items[0][5])]
    kept = ["new", *(f"p{number:05d}" for number in range(0, 5000, 2))]
    engine = SearchEngine(index, tail=table(fresh, "b2")).only(kept)
    query = engine.product_query("p00300")
    answer = engine.search(query, 10)
    assert engine.visited(query, answer) == answer.read + 1


def test_an_exact_search_counts_the_items_that_it_read_and_no_others(
    items: list[Item], index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = watched(monkeypatch)
    newer = [(f"n{number:05d}", "c", "whole", None, None, items[number][5]) for number in range(40)]
    whole = SearchEngine(index, tail=table(newer, "b2"))
    few = [f"p{number:05d}" for number in range(0, 5000, 10)]
    many = [f"p{number:05d}" for number in range(4000)]
    query = whole.product_query("p00300")
    for engine in (whole, whole.only([*few, "n00001"]), whole.only([*many, *(item[0] for item in newer)])):
        read.clear()
        answer = engine.search(query, 10, exact=True)
        assert answer.exact and engine.visited(query, answer) == sum(read)
        assert (sum(read) < 1200) is (engine.products == 501)


def test_a_search_that_had_to_read_all_cells_counts_their_items(
    index: Index, by_cells: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = watched(monkeypatch)
    engine = SearchEngine(with_cells(index, EVERYTHING)).only([f"p{number:05d}" for number in range(0, 5000, 2)])
    query = engine.product_query("p00300")
    answer = engine.search(query, 10)
    assert answer.exact and engine.visited(query, answer) == answer.read == sum(read) < len(index.rows)


def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of items that are scanned."""
    read: list[int] = []
    scan = ways.scan

    def watching(rows: Rows, *given: Any) -> Any:
        read.append(len(rows) if given[3] is None else len(given[3]))
        return scan(rows, *given)

    monkeypatch.setattr(ways, "scan", watching)
    return read


def test_an_index_without_cells_reads_a_class_whole(index: Index) -> None:
    engine = SearchEngine(replace(index, cells=None))
    assert engine.search(engine.product_query("p00300"), 10, classes={"Chair"}).exact


def test_an_index_that_serves_exactly_reads_a_class_whole(index: Index, by_cells: None) -> None:
    engine = SearchEngine(replace(index, manifest=replace(index.manifest, serve_with="exact")))
    assert engine.search(engine.product_query("p00300"), 10, classes={"Chair"}).exact
