"""What the engine does where the manifest says that Annoy misses too much."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vetrina.index.reader import open_folder
from vetrina.search.answers import Query
from vetrina.search.engine import SearchEngine

sys.path.insert(0, str(Path(__file__).parents[1] / "index"))  # the samples live beside the index tests

from index_samples import built, shop, table, unit

from vetrina.index.settings import IndexSettings

DIMS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 3 000 products that Annoy serves."""
    folder = tmp_path_factory.mktemp("audited")
    built(shop(3000, DIMS, crops=1), folder, IndexSettings(projection_dims=None, serve_with="annoy"))
    return folder


def engine_with(folder: Path, tail: pa.Table | None = None, **changes: Any) -> SearchEngine:
    """The engine over the folder, the manifest changed: `exact_classes`, `outside_search_k`, `serve_with`."""
    manifest = folder / "manifest.json"
    before = manifest.read_bytes()
    value = json.loads(before)
    value["recall"]["exact_classes"] = changes.get("exact_classes", [])
    value["annoy"]["outside_search_k"] = changes.get("outside_search_k", 500)
    try:
        manifest.write_text(json.dumps(value))
        return SearchEngine(open_folder(folder), tail=tail)
    finally:
        manifest.write_bytes(before)


def watched(engine: SearchEngine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The nodes that Annoy is let visit, question by question."""
    visited: list[int] = []
    nearest = engine.index.annoy.nearest

    def watching(vector: np.ndarray, count: int, search_k: int) -> np.ndarray:
        visited.append(search_k)
        return nearest(vector, count, search_k)

    monkeypatch.setattr(engine.index.annoy, "nearest", watching)
    return visited


def labelled(engine: SearchEngine, label: str) -> str:
    rows = engine.index.rows
    return rows.product_id(int(rows.product_of[rows.items_labelled([label])[0]]))


def test_a_product_of_a_class_below_the_target_is_searched_exactly_and_others_are_not(folder: Path) -> None:
    engine = engine_with(folder, exact_classes=["Chair"])
    chair, dress = (engine.product_query(labelled(engine, label)) for label in ("Chair", "Dress"))
    assert (chair.labels, dress.labels) == ({"Chair"}, {"Dress"})
    found = engine.search(chair, 10)
    assert found.exact and not engine.search(dress, 10).exact
    assert found.neighbours == engine.search(chair, 10, exact=True).neighbours
    assert not engine_with(folder).search(chair, 10).exact


def test_a_photo_with_a_crop_of_such_a_class_is_searched_exactly(folder: Path) -> None:
    engine = engine_with(folder, exact_classes=["Chair"])
    vectors = unit(np.random.default_rng(3).standard_normal((2, DIMS)))
    for labels, exact in (({"Chair", "Dress"}, True), ({"Dress"}, False), (set(), False)):
        query = Query(vectors, ("whole", "crop"), labels=frozenset(labels))
        assert engine.search(query, 10).exact is exact


def test_a_photo_is_searched_as_thoroughly_as_queries_from_outside_need(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_with(folder, outside_search_k=777)
    visited = watched(engine, monkeypatch)
    engine.search(Query(unit(np.ones((1, DIMS))), ("whole",)), 10)
    assert visited[0] == 777
    visited.clear()
    engine.search(engine.product_query("p00001"), 10)
    assert visited[0] == engine.index.manifest.annoy["search_k"]


def test_a_product_that_is_newer_than_the_index_is_searched_like_a_query_from_outside(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    newer = table([(name, "c", "whole", None, None, unit(rng.standard_normal(DIMS))) for name in ("new", "p00001")])
    engine = engine_with(folder, newer, outside_search_k=777)
    visited = watched(engine, monkeypatch)
    for name in ("new", "p00001"):
        engine.search(engine.product_query(name), 10, exclude=[name])
        assert visited[0] == 777
        visited.clear()
    engine.search(engine.product_query("p00002"), 10)
    assert visited[0] == engine.index.manifest.annoy["search_k"]
    unreachable = engine_with(folder, newer, outside_search_k=None)
    assert unreachable.search(unreachable.product_query("new"), 10).exact


def test_a_photo_is_searched_exactly_where_annoy_cannot_meet_the_target_for_photos(folder: Path) -> None:
    engine = engine_with(folder, outside_search_k=None)
    assert engine.search(Query(unit(np.ones((1, DIMS))), ("whole",)), 10).exact
    assert not engine.search(engine.product_query("p00001"), 10).exact
