"""Exports: what is written whole, what is written of changes, and that a target holds the old or the new."""

import csv
import json
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "index"))  # the samples live beside the index tests

from index_samples import Item, built, unit

from orchestration import printing
from orchestration.deployment import Deployment
from orchestration.exports import export_table
from vetrina.errors import NotFound, SettingError, StoreError
from vetrina.exporting import database
from vetrina.exporting.changes import Change, Similar, between, current_table, has_table, whole
from vetrina.exporting.database import is_database, write_database
from vetrina.exporting.files import write_file
from vetrina.index.publishing import CURRENT_TABLE, TABLE, publish_table
from vetrina.index.settings import IndexSettings, TableSettings
from vetrina.index.table import SIMILAR_SCHEMA
from vetrina.index.versions import publish
from vetrina.settings import Settings
from vetrina.store import Store

Lists = Mapping[str, Sequence[tuple[str, float]]]  # product → (similar, score), best first
OLD: Lists = {"a": [("b", 0.9), ("c", 0.5)], "b": [("a", 0.9), ("c", 0.4)], "c": [("a", 0.5)], 'd"\n€': [("a", 0.1)]}
NEW: Lists = {"a": [("b", 0.9), ("c", 0.5)], "b": [("a", 0.8)], "c": [("b", 0.4), ("a", 0.3)], "e": [("a", 0.7)]}


def put(store: Store, name: str, lists: Lists, *, current: bool = True) -> None:
    """A finished table in the store."""
    rows = [
        {
            "product_id": product,
            "rank": rank,
            "similar_id": other,
            "score": score,
            "crop_id": "x",
            "similar_crop_id": "y",
            "same_class": rank == 1,
        }
        for product in sorted(lists, key=lambda text: text.encode())
        for rank, (other, score) in enumerate(lists[product], 1)
    ]
    folder = f"similar_products/{name}"
    with store.writing(f"{folder}/{TABLE}") as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=SIMILAR_SCHEMA), file)
    store.write_json(f"{folder}/table.json", {"rows": len(rows), "products": len(lists)})
    if current:
        store.write_json(CURRENT_TABLE, {"folder": folder, "index": "i"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "store")
    put(found, "old", OLD)
    return found


def changes(store: Store, old: str = "old", new: str = "new") -> Iterator[Change]:
    return between(whole(store, old), whole(store, new))


def held(file: Path) -> dict[str, list[tuple[str, float]]]:
    """What the database says."""
    with sqlite3.connect(file) as connection:
        rows = connection.execute(
            "select product_id, similar_id, score from similar_products order by product_id, rank"
        )
        found: dict[str, list[tuple[str, float]]] = {}
        for product, other, score in rows:
            found.setdefault(product, []).append((other, pytest.approx(score)))
        return found


def as_held(lists: Lists) -> dict[str, list[tuple[str, float]]]:
    return {product: list(found) for product, found in lists.items() if found}


def test_changes_are_the_lists_that_differ_and_the_products_that_went(store: Store) -> None:
    put(store, "new", NEW)
    found = {change.product_id: [line.similar_id for line in change.similar] for change in changes(store)}
    assert found == {"b": ["a"], "c": ["b", "a"], 'd"\n€': [], "e": ["a"]}


lists = st.dictionaries(
    st.text(min_size=1, max_size=3),
    st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from([0.25, 0.5])), min_size=1, max_size=3),
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(old=lists, new=lists)
def test_the_old_table_with_the_changes_is_the_new_one(
    tmp_path_factory: pytest.TempPathFactory, old: Lists, new: Lists
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    put(store, "old", old)
    put(store, "new", new)
    after = {change.product_id: change.similar for change in whole(store, "old")}
    for change in changes(store):
        assert after.get(change.product_id) != change.similar
        after[change.product_id] = change.similar
    assert {key: value for key, value in after.items() if value} == {
        c.product_id: c.similar for c in whole(store, "new")
    }


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, str]:
    """A shop of 800 products and its table, and the table after one product more: indexes built and projected anew."""
    folder = tmp_path_factory.mktemp("rebuilt")
    rng = np.random.default_rng(0)
    spread = np.linspace(2, 0.1, 96)  # as of real pictures: a few directions vary most
    places = rng.standard_normal((20, 96))[rng.integers(20, size=801)] + 0.6 * rng.standard_normal((801, 96))
    vectors = unit(places * spread + 1)
    items: list[Item] = [(f"p{row:03d}", f"w{row}", "whole", None, None, vectors[row]) for row in range(801)]
    store, names = Store(folder / "store"), []
    for count in (800, 801):
        place = folder / str(count)
        manifest = built(items[:count], place, IndexSettings(projection_dims=64, serve_with="exact"))
        assert manifest.dims == 64
        publish_table(store, publish(store, place, manifest), TableSettings(5, hide_duplicates=False, made_by="exact"))
        names.append(current_table(store).name)
    return store, names[0], names[1]


def _content(similar: Sequence[Similar]) -> list[tuple[str, bool]]:
    return [(line.similar_id, line.same_class) for line in similar]


def test_one_more_product_changes_the_lists_that_name_other_products_and_not_every_score(
    rebuilt: tuple[Store, str, str],
) -> None:
    store, old, new = rebuilt
    was = {change.product_id: change.similar for change in whole(store, old)}
    now = {change.product_id: change.similar for change in whole(store, new)}
    assert sum(was[product] != now[product] for product in was) > 0.99 * len(was)
    found = {change.product_id: change.similar for change in changes(store, old, new)}
    assert found == {
        product: similar
        for product, similar in now.items()
        if product not in was
        or _content(was[product]) != _content(similar)
        or any(abs(a.score - b.score) > 0.005 for a, b in zip(was[product], similar, strict=True))
    }
    assert "p800" in found and len(found) < len(now) / 2


def test_a_rebuild_writes_into_a_database_what_changed_and_nothing_else(
    rebuilt: tuple[Store, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, old, new = rebuilt
    monkeypatch.setattr(database, "_ROWS_AT_ONCE", 7)  # lists are cut by the pages that they are read in
    store.write_json(CURRENT_TABLE, {"folder": f"similar_products/{old}", "index": "i"})
    file = tmp_path / "shop.db"
    assert write_database(store, f"sqlite:///{file}").products == 800
    store.write_json(CURRENT_TABLE, {"folder": f"similar_products/{new}", "index": "i"})
    done = write_database(store, f"sqlite:///{file}")
    changed = {change.product_id for change in changes(store, old, new)}
    assert (done.since, done.products, done.removed) == (old, len(changed), 0)
    with sqlite3.connect(file) as connection:
        rows = connection.execute("select product_id, rank, similar_id, since from similar_products").fetchall()
    now = [(change.product_id, line.rank, line.similar_id) for change in whole(store, new) for line in change.similar]
    assert sorted(row[:3] for row in rows) == now
    assert {row[0] for row in rows if row[3] == new} == changed


def test_a_score_is_another_one_when_it_moved_by_more_than_the_tolerance(store: Store) -> None:
    put(store, "old", {"a": [("b", 0.5), ("c", 0.4)], "b": [("a", 0.5)], "c": [("a", 0.5), ("b", 0.4)]})
    put(store, "new", {"a": [("b", 0.504), ("c", 0.396)], "b": [("a", 0.506)], "c": [("b", 0.5), ("a", 0.4)]})
    assert [change.product_id for change in changes(store)] == ["b", "c"]


def test_scores_that_move_a_little_with_every_table_do_not_leave_a_database_behind(
    store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "shop.db"
    written = []
    for step in range(6):
        put(store, f"t{step}", {"a": [("b", 0.5 + 0.003 * step)]})
        written.append(write_database(store, f"sqlite:///{file}").products)
        (row,) = held(file)["a"]
        assert row[1].expected == pytest.approx(0.5 + 0.003 * step, abs=0.005)
    assert written == [1, 0, 1, 0, 1, 0]


def test_a_csv_can_be_read_back_as_it_was(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "out.CSV"
    write_file(whole(store, "old"), file)
    with file.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [
        (row["product_id"], row["rank"], row["similar_id"], row["score"], row["same_class"]) for row in rows[:2]
    ] == [
        ("a", "1", "b", "0.900000", "true"),
        ("a", "2", "c", "0.500000", "false"),
    ]
    assert rows[-1]["product_id"] == 'd"\n€'


def test_json_lines_hold_a_product_each_and_an_empty_list_for_one_that_went(store: Store, tmp_path: Path) -> None:
    put(store, "new", NEW)
    write_file(changes(store), tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["product_id"] for line in lines] == ["b", "c", 'd"\n€', "e"]
    assert lines[0]["similar"] == [{"id": "a", "score": 0.8, "same_class": True}]
    assert lines[2]["similar"] == []


def test_a_parquet_of_changes_has_a_row_of_nulls_for_a_product_that_went(store: Store, tmp_path: Path) -> None:
    put(store, "new", NEW)
    write_file(changes(store), tmp_path / "out.parquet")
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert {"product_id": 'd"\n€', "rank": None, "similar_id": None, "score": None, "same_class": None} in rows
    assert len(rows) == 1 + 2 + 1 + 1


def test_a_file_that_cannot_be_written_leaves_the_one_before(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_text("before")

    def broken() -> Iterator[Change]:
        yield Change("a", (Similar(1, "b", 0.5, True),))
        raise StoreError("the store went away")

    with pytest.raises(StoreError, match="went away"):
        write_file(broken(), file)
    assert file.read_text() == "before"
    assert sorted(tmp_path.iterdir()) == [file, tmp_path / "store"]
    with pytest.raises(StoreError, match="cannot be written"):
        write_file([], tmp_path / "no" / "such" / "folder.csv")
    with pytest.raises(SettingError, match=r"use one of \.parquet, \.csv"):
        write_file([], tmp_path / "out.xlsx")


def test_a_database_is_written_whole_first_and_then_the_changes_only(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    url = f"sqlite:///{file}"
    first = write_database(store, url)
    assert (first.since, first.products, first.removed) == (None, 4, 0)
    assert held(file) == as_held(OLD)
    again = write_database(store, url)
    assert (again.since, again.products) == ("old", 0)
    put(store, "new", NEW)
    second = write_database(store, url)
    assert (second.since, second.products, second.removed) == ("old", 3, 1)
    assert held(file) == as_held(NEW)
    with sqlite3.connect(file) as connection:
        untouched = connection.execute("select distinct since from similar_products where product_id = 'a'").fetchall()
    assert untouched == [("old",)]


def test_a_database_whose_table_is_gone_from_the_store_gets_the_changes_too(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    write_database(store, f"sqlite:///{file}")
    put(store, "new", NEW)
    for path in list(store.walk("similar_products/old")):
        store.delete(path.path)
    done = write_database(store, f"sqlite:///{file}")
    assert (done.since, done.products, done.removed) == ("old", 3, 1)
    assert held(file) == as_held(NEW)


def test_since_names_the_table_of_a_list_in_all_its_rows_also_when_it_only_became_shorter(
    store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "shop.db"
    put(store, "old", {"a": [("b", 0.9), ("c", 0.5)], "b": [("a", 0.9), ("c", 0.4), ("d", 0.3)], "c": [("a", 0.5)]})
    write_database(store, f"sqlite:///{file}")
    put(store, "new", {"a": [("b", 0.9), ("d", 0.5)], "b": [("a", 0.9), ("c", 0.4)], "c": [("a", 0.5)]})
    write_database(store, f"sqlite:///{file}")
    with sqlite3.connect(file) as connection:
        found = connection.execute("select product_id, since, count(*) from similar_products group by 1, 2").fetchall()
    assert found == [("a", "new", 2), ("b", "new", 2), ("c", "old", 1)]


def test_a_database_is_written_afresh_where_somebody_wrote_into_it(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    write_database(store, f"sqlite:///{file}")
    with sqlite3.connect(file) as connection:
        connection.execute("update similar_products set similar_id = 'x' where product_id = 'a'")
        connection.execute("insert into similar_products values ('zz', 1, 'a', 0.5, 1, 'old')")
    assert write_database(store, f"sqlite:///{file}").products == 0
    done = write_database(store, f"sqlite:///{file}", afresh=True)
    assert (done.since, done.products, done.removed) == (None, 4, 0)
    assert held(file) == as_held(OLD)


def test_an_export_that_fails_midway_leaves_the_database_as_it_was(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "shop.db"
    write_database(store, f"sqlite:///{file}")
    put(store, "new", NEW)
    real = database.between

    def broken(*arguments: object) -> Iterator[Change]:
        yield next(real(*arguments))
        raise StoreError("the store went away")

    monkeypatch.setattr(database, "between", broken)
    monkeypatch.setattr(database, "_PRODUCTS_AT_ONCE", 1)
    with pytest.raises(StoreError, match="went away"):
        write_database(store, f"sqlite:///{file}")
    assert held(file) == as_held(OLD)
    monkeypatch.undo()
    assert write_database(store, f"sqlite:///{file}").since == "old"
    assert held(file) == as_held(NEW)


def test_a_database_that_sorts_otherwise_is_not_compared_and_can_be_written_afresh(
    store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as connection:
        connection.execute("pragma encoding = 'UTF-16le'")
        connection.execute("create table mine (name text)")
    put(store, "old", {"é": [("a", 0.5)], "ā": [("a", 0.5)]})
    write_database(store, f"sqlite:///{file}")
    put(store, "new", {"é": [("b", 0.5)], "ā": [("a", 0.5)]})
    with pytest.raises(StoreError, match="only --afresh"):
        write_database(store, f"sqlite:///{file}")
    assert write_database(store, f"sqlite:///{file}", afresh=True).products == 2
    assert held(file) == {"é": [("b", 0.5)], "ā": [("a", 0.5)]}


def test_a_person_is_told_what_an_export_wrote_and_not_that_a_new_file_was_there_already(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = Deployment(Settings(store=store.root))

    def said(target: str, since: str | None = None) -> str:
        quiet = printing.Steps(quiet=True)
        printing.exported(export_table(deployment, target, since=since, afresh=False, progress=quiet))
        return capsys.readouterr().out.strip()

    file, url = tmp_path / "out.csv", f"sqlite:///{tmp_path}/shop.db"
    assert said(str(file)) == said(url) == "Table old: 4 products written"
    assert said(str(file), "old") == said(url) == "Nothing has changed since table old"
    assert file.read_text().splitlines() == ["product_id,rank,similar_id,score,same_class"]
    put(store, "new", NEW)
    assert said(str(file), "old") == said(url) == "Table new since old: 3 products changed, 1 removed"
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SettingError, match="is a folder"):  # before all of it is written
        said(str(tmp_path / "folder.csv"))


def test_another_table_of_that_name_is_left_alone(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as connection:
        connection.execute("create table similar_products (product_id text, mine text)")
    with pytest.raises(StoreError, match="without the column rank, so it is not Vetrina's"):
        write_database(store, f"sqlite:///{file}")


def test_a_target_that_cannot_be_used_is_said_without_its_password(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="refused the export") as refused:
        write_database(store, "postgresql://shop:s3cret@127.0.0.1:1/shop")
    assert "s3cret" not in str(refused.value)
    with pytest.raises(StoreError, match="unable to open database file"):
        write_database(store, f"sqlite:///{tmp_path}/no/such/folder.db")
    with pytest.raises(SettingError, match="address cannot be read"):
        write_database(store, "postgresql://shop@host:port/shop")
    assert not is_database("out.csv") and is_database("postgresql+psycopg2://x") and not is_database("https://x")


def test_without_a_table_the_way_to_one_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path / "empty")
    with pytest.raises(NotFound, match="vetrina add CATALOG"):
        current_table(store)
    assert not has_table(store, "../../etc") and not has_table(store, "none")
    with pytest.raises(StoreError, match=r"not in .* any more"):
        list(whole(store, "none"))
