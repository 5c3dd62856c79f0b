"""The table of similar products follows the same rule as answers: nothing shows a picture again, and k is filled."""

import json
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.fault_server import FaultServer
from support.hostile import jpeg
from support.shops import Shop, opened_shop, rows_of

from vetrina.index import table_parts
from vetrina.index.publishing import JSON, TABLE, TableReport, publish_table
from vetrina.index.settings import TableSettings
from vetrina.index.versions import Published, current
from vetrina.pictures.likeness import SHOWN, TAKEN, show_the_same, without_repeats
from vetrina.pictures.prints import Prints
from vetrina.quality.published import judge_table
from vetrina.search.conditions import Conditions
from vetrina.store import Store

NAMES = ["oak-chair", "oak-chair-again", "white-chair", "coffee-cup", "umbrella", "bootie"]


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Shop]:
    """Two chairs, one of them also as a JPEG and under a second id; others; a box under five ids."""
    pictures = {f"/{name}.png": data for name, data in product_pictures.items()}
    pictures["/oak-chair-again.png"] = jpeg(product_pictures["oak-chair"], quality=85)
    with FaultServer(pictures) as server, opened_shop(tmp_path_factory.mktemp("table")) as shop:
        rows = rows_of(server, NAMES)
        rows += [{"id": "oak-chair-copy", "url": server.url("/oak-chair.png")}]
        rows += [{"id": f"box-{number}", "url": server.url("/box.png")} for number in range(5)]
        shop.add(shop.catalog("all", rows))
        yield shop


def _published(shop: Shop) -> Published:
    published = current(shop.deployment.store)
    assert published is not None
    return published


def _made(shop: Shop, settings: TableSettings) -> TableReport:
    """The table, made anew."""
    store = shop.deployment.store
    folder = publish_table(store, _published(shop), settings).folder
    for file in list(store.walk(folder)):
        store.delete(file.path)
    report = publish_table(store, _published(shop), settings)
    assert report.built
    return report


def _lists(store: Store, report: TableReport) -> dict[str, list[tuple[str, float]]]:
    with store.open(f"{report.folder}/{TABLE}") as handle:
        rows = pq.read_table(handle).to_pylist()
    lists: dict[str, list[tuple[str, float]]] = {}
    for row in rows:
        lists.setdefault(row["product_id"], []).append((row["similar_id"], pytest.approx(row["score"], abs=1e-6)))
        assert row["rank"] == len(lists[row["product_id"]])
    return lists


@pytest.mark.parametrize("hide", [True, False])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_each_list_is_what_an_exact_question_for_the_product_is_answered(shop: Shop, k: int, hide: bool) -> None:
    window = shop.deployment.window()
    lists = _lists(window.store, _made(shop, TableSettings(k, hide_duplicates=hide)))
    assert set(lists) == set(window.engine.product_ids)
    for product_id, similar in lists.items():
        found = window.similar(product_id, k, Conditions(distinct=hide, exact=True)).answer.neighbours
        assert [(other.product_id, other.score) for other in found] == similar


def test_lists_that_are_short_for_want_of_other_pictures_are_counted_and_no_fault(shop: Shop) -> None:
    store = shop.deployment.store
    few = _made(shop, TableSettings(3))
    assert few.short == 0
    many = _made(shop, TableSettings(20))
    # Six pictures; the products that are not of them have five others, and none has the eleven of the shop.
    assert (many.short, many.products, many.rows) == (12, 12, 12 * 5)
    path = f"{many.folder}/{TABLE}"
    assert [verdict.passed for verdict in judge_table(store, _published(shop), path, 20, many.short)] == [True, True]
    assert [verdict.passed for verdict in judge_table(store, _published(shop), path, 20)] == [True, False]


def test_the_best_of_the_same_class_come_first_without_repeats(shop: Shop) -> None:
    store = shop.deployment.store
    report = _made(shop, TableSettings(20, same_class=True))
    with store.open(f"{report.folder}/{TABLE}") as handle:
        rows = pq.read_table(handle).to_pylist()
    free = _lists(store, _made(shop, TableSettings(20)))
    for product_id, similar in free.items():
        mine = [row for row in rows if row["product_id"] == product_id]
        flags = [row["same_class"] for row in mine]
        assert flags == sorted(flags, reverse=True)
        assert len(mine) == len(similar)


def test_the_setting_names_another_table_and_the_asset_follows_it(shop: Shop) -> None:
    settings = [TableSettings(3, hide_duplicates=hide) for hide in (True, False)]
    hidden, shown = (publish_table(shop.deployment.store, _published(shop), one) for one in settings)
    assert hidden.folder != shown.folder
    assert shop.deployment.index.table() == TableSettings(10, hide_duplicates=True)
    assert shop.deployment.wanted().table.hide_duplicates


def test_products_that_all_show_one_picture_have_no_similar_ones_and_that_is_no_fault(
    shop: Shop, server: FaultServer, tmp_path: Path
) -> None:
    with opened_shop(tmp_path) as copies:
        copies.add(copies.catalog("all", [{"id": str(number), "url": server.url("/box.png")} for number in range(3)]))
        store = copies.deployment.store
        report = publish_table(store, _published(copies), copies.deployment.index.table())
        assert not report.built and (report.rows, report.products, report.short) == (0, 0, 3)
        path = f"{report.folder}/{TABLE}"
        verdicts = judge_table(store, _published(copies), path, 10, report.short)
        assert [verdict.passed for verdict in verdicts] == [True, True]
        assert "3 have fewer" in verdicts[1].message


_KILLED = """
import os, signal, sys
from vetrina.index import table_parts
from vetrina.index.publishing import publish_table
from vetrina.index.settings import TableSettings
from vetrina.index.versions import current
from vetrina.store import Store

table_parts.PART_PRODUCTS = 4
store = Store(sys.argv[1])
publish_table(
    store,
    current(store),
    TableSettings(4),
    progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done >= 8 else None,
)
"""


def test_a_killed_table_goes_on_where_it_was_and_has_the_same_bytes(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_parts, "PART_PRODUCTS", 4)
    store, settings = shop.deployment.store, TableSettings(4)
    report = _made(shop, settings)
    whole = [store.read(f"{report.folder}/{name}") for name in (TABLE, JSON, "table.json")]
    for file in list(store.walk(report.folder)):
        store.delete(file.path)
    killed = subprocess.run([sys.executable, "-c", _KILLED, store.root], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not store.exists(f"{report.folder}/table.json")
    assert store.names(f"{report.folder}/parts") == ["000000.parquet", "000001.parquet"]
    store.write(f"{report.folder}/parts/000001.parquet", b"PAR1 cut short")

    made: list[range] = []
    real = table_parts.in_parts

    def counted(*given: Any) -> Any:
        def make(part: range) -> Any:
            made.append(part)
            return given[3](part)

        return real(*given[:3], make, *given[4:])

    monkeypatch.setattr("vetrina.index.publishing.in_parts", counted)
    seen: list[tuple[int, int]] = []
    publish_table(store, _published(shop), settings, progress=lambda done, total: seen.append((done, total)))
    assert made == [range(4, 8), range(8, 12)]
    assert seen == [(4, 12), (8, 12), (12, 12)]
    assert [store.read(f"{report.folder}/{name}") for name in (TABLE, JSON, "table.json")] == whole
    assert store.names(f"{report.folder}/parts") == []


def test_the_table_does_not_depend_on_how_it_is_cut(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    store, settings = shop.deployment.store, TableSettings(4)
    one = _made(shop, settings)
    whole = _lists(store, one), json.loads(store.read(f"{one.folder}/{JSON}"))
    monkeypatch.setattr(table_parts, "PART_PRODUCTS", 5)
    other = _made(shop, settings)
    assert (_lists(store, other), json.loads(store.read(f"{other.folder}/{JSON}"))) == whole


@pytest.mark.parametrize("block", [3, 128])
def test_the_choice_without_repeats_is_what_comparing_two_by_two_gives(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr("vetrina.pictures.likeness._BLOCK", block)
    rng = np.random.default_rng(3)
    count = 30
    hashes = np.zeros(count, np.uint64)
    hashes[::7] = 2**40 - 1  # too many bits away
    cells = np.full((count, 16, 16, 3), 100, np.uint8) + rng.integers(0, 6, (count, 1, 1, 1), np.uint8) * 3
    prints = Prints(rng.random(count) < 0.9, hashes, cells)
    for _ in range(200):
        places = rng.integers(0, count, 12).tolist()
        shown, offered, k = places[:2], places[2:], int(rng.integers(1, 8))
        taken, verdicts = without_repeats(prints, shown, offered, k)
        expected: list[int] = []
        for number, place in enumerate(offered):
            if len(expected) == k:
                assert len(verdicts) == number
                break
            if any(place == other or show_the_same(prints, place, other) for other in shown):
                assert verdicts[number] == SHOWN
            else:
                same = [n for n in expected if place == offered[n] or show_the_same(prints, place, offered[n])]
                assert verdicts[number] == (same[0] if same else TAKEN)
                expected += [] if same else [number]
        assert taken == expected


def test_a_picture_that_thousands_of_offers_show_takes_no_memory_with_their_square() -> None:
    count = 4000
    one = Prints(np.ones(1, bool), np.zeros(1, np.uint64), np.zeros((1, 16, 16, 3), np.uint8))
    alike = Prints(*(np.repeat(column, count, axis=0) for column in (one.known, one.hashes, one.cells)))
    for prints, offered in ((one, [0] * count), (alike, list(range(count)))):
        tracemalloc.start()
        try:
            taken, verdicts = without_repeats(prints, [], offered, 10)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (taken, verdicts) == ([0], [TAKEN] + [0] * (count - 1))
        assert most < 64 << 20  # the hashes of all pairs alone are twice that
