"""The table that the index makes, in a store: what is stated of it, and how it goes on after an interruption."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from index_samples import built, shop

from vetrina.index import publishing, table_parts
from vetrina.index.publishing import CURRENT_TABLE, JSON, TABLE, publish_table, restore_table, standing_table
from vetrina.index.settings import IndexSettings, TableSettings
from vetrina.index.versions import Published, publish, rollback
from vetrina.index.wanted import table_folder
from vetrina.store import Store

BY_INDEX = TableSettings(5, hide_duplicates=False, made_by="index")
EXACT = TableSettings(5, hide_duplicates=False, made_by="exact")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Published]]:
    """A store with an index of 400 made-up products."""
    folder = tmp_path_factory.mktemp("index")
    settings = IndexSettings(projection_dims=None, trees=5, search_k=80, serve_with="annoy", recall_target=0.9)
    manifest = built(shop(400, 10, seed=3, clusters=30), folder / "built", settings)
    store = Store(folder / "store")
    yield store, publish(store, folder / "built", manifest)


def test_it_is_written_as_an_exact_one_is_and_says_what_it_finds(index: tuple[Store, Published]) -> None:
    store, published = index
    exact, made = (publish_table(store, published, settings) for settings in (EXACT, BY_INDEX))
    assert exact.folder != made.folder and (exact.rows, exact.products) == (made.rows, made.products) == (2000, 400)
    assert (exact.made_by, exact.recall) == ("exact", {})
    assert (made.made_by, made.why) == ("index", "the setting VETRINA_TABLE says so")
    tables = []
    for report in (exact, made):
        with store.open(f"{report.folder}/{TABLE}") as handle:
            table = pq.read_table(handle)
        tables.append(set(zip(*(table[name].to_pylist() for name in ("product_id", "similar_id")), strict=True)))
    # The sample is all 400 products, so what is stated is no estimate.
    assert (
        made.recall["recall"] == made.recall["lower_95"] == pytest.approx(len(tables[0] & tables[1]) / 2000, abs=1e-9)
    )
    assert 0.9 <= made.recall["recall"] < 1
    stated = store.read_json(f"{made.folder}/table.json")
    assert stated["recall"] == made.recall and stated["made_by"] == "index"


def test_a_table_that_is_there_is_not_made_again_and_still_says_so(index: tuple[Store, Published]) -> None:
    store, published = index
    made = publish_table(store, published, BY_INDEX)
    again = publish_table(store, published, BY_INDEX)
    assert not again.built and (again.recall, again.made_by, again.why) == (made.recall, made.made_by, made.why)
    assert standing_table(store, published, BY_INDEX) == again
    assert standing_table(store, published, TableSettings(3)) is None


def test_one_that_was_interrupted_goes_on_and_has_the_same_bytes(
    index: tuple[Store, Published], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, published = index
    monkeypatch.setattr(table_parts, "PART_PRODUCTS", 90)
    names = (TABLE, JSON, "table.json")

    def wipe(folder: str) -> None:
        for file in list(store.walk(folder)):
            store.delete(file.path)

    folder = table_folder(published.version, BY_INDEX)
    wipe(folder)
    publish_table(store, published, BY_INDEX, workers=2)
    whole = [store.read(f"{folder}/{name}") for name in names]
    wipe(folder)

    def interrupted(done: int, total: int) -> None:
        if done >= 180:
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        publish_table(store, published, BY_INDEX, progress=interrupted)
    assert store.names(f"{folder}/parts") == ["000000.parquet", "000001.parquet"]
    assert not store.exists(f"{folder}/table.json")
    made: list[Any] = []
    real = table_parts._kept
    monkeypatch.setattr(table_parts, "_kept", lambda *given: (made.append(kept := real(*given)), kept)[1])
    seen: list[tuple[int, int]] = []
    publish_table(store, published, BY_INDEX, progress=lambda done, total: seen.append((done, total)))
    assert [kept is None for kept in made] == [False, False, True, True, True]
    assert seen == [(90, 400), (180, 400), (270, 400), (360, 400), (400, 400)]
    assert [store.read(f"{folder}/{name}") for name in names] == whole


def test_what_a_table_was_put_together_from_goes_also_when_its_last_moment_was_interrupted(
    index: tuple[Store, Published], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, published = index
    settings = TableSettings(4, hide_duplicates=False, made_by="exact")
    monkeypatch.setattr(table_parts, "PART_PRODUCTS", 90)

    def killed(store: Store, folder: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as once, pytest.raises(KeyboardInterrupt):
        once.setattr(publishing, "drop_parts", killed)
        publish_table(store, published, settings)
    folder = table_folder(published.version, settings)
    assert standing_table(store, published, settings) is not None and len(store.names(f"{folder}/parts")) == 5
    assert not publish_table(store, published, settings).built
    assert store.names(f"{folder}/parts") == []


def test_a_rollback_does_not_wait_for_a_table_that_is_being_made_and_is_not_undone_by_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    old, new = (
        publish(store, tmp_path / str(seed), built(shop(20, 4, seed=seed), tmp_path / str(seed))) for seed in (1, 2)
    )
    folders = [table_folder(one.version, EXACT) for one in (old, new)]
    publish_table(store, old, EXACT)
    restored: list[bool] = []

    def back(to: Published) -> bool:
        return restore_table(store, rollback(store, to.version), EXACT)

    def roll_back(done: int, total: int) -> None:
        one = threading.Thread(target=lambda: restored.append(back(old)), daemon=True)
        one.start()
        one.join(60)

    publish_table(store, new, EXACT, progress=roll_back)
    assert restored == [True] and store.exists(f"{folders[1]}/table.json")
    assert store.read_json(CURRENT_TABLE) == {"folder": folders[0], "index": old.version}
    assert not publish_table(store, new, EXACT).built
    assert store.read_json(CURRENT_TABLE)["folder"] == folders[0]
    assert back(new)
    assert store.read_json(CURRENT_TABLE) == {"folder": folders[1], "index": new.version}


def test_tables_of_before_there_was_a_choice_are_found_and_are_exact(index: tuple[Store, Published]) -> None:
    assert table_folder("0" * 16, TableSettings()) == "similar_products/02e76b648d7b2e2b"
    store, published = index
    older = TableSettings(2)
    folder = table_folder(published.version, older)
    store.write(f"{folder}/table.json", json.dumps({"rows": 800, "products": 400, "short": 0}).encode())
    report = publish_table(store, published, older)
    assert (report.built, report.rows, report.made_by, report.recall) == (False, 800, "exact", {})
