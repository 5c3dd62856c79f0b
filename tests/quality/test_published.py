"""Judgements over a published index and its table."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.fault_server import FaultServer
from support.shops import Shop, rows_of

from vetrina.errors import StoreError
from vetrina.index.publishing import TABLE, publish_table
from vetrina.index.settings import TableSettings
from vetrina.index.versions import Published, current
from vetrina.quality.published import judge_pictures, judge_recall, judge_table
from vetrina.store import blob_path

PRODUCTS = ["oak-chair", "white-chair", "box", "bootie"]
MEASURED = {"recall": 0.7, "lower_95": 0.68, "target": 0.99, "k": 10, "queries": 400, "met": False}


@pytest.fixture
def published(shop: Shop, server: FaultServer) -> Published:
    shop.work(shop.register(shop.catalog("spring", rows_of(server, PRODUCTS))))
    shop.publish()
    found = current(shop.deployment.store)
    assert found is not None
    return found


def test_recall_below_target_passes_only_where_searches_are_exact() -> None:
    assert judge_recall({**MEASURED, "met": True}, "annoy").passed
    assert judge_recall(MEASURED, "exact").passed
    verdict = judge_recall(MEASURED, "annoy")
    assert not verdict.passed
    assert "0.6800" in verdict.message and "VETRINA_SERVE_WITH" in verdict.message


def test_pictures_that_are_gone_from_the_store_are_named(shop: Shop, published: Published) -> None:
    store = shop.deployment.store
    verdict = judge_pictures(store, published)
    assert verdict.passed
    assert verdict.facts["looked_for"] == len(PRODUCTS)
    gone = shop.deployment.window().engine.items_of("box")[0].sha256
    store.delete(blob_path(gone))
    verdict = judge_pictures(store, published)
    assert not verdict.passed
    assert gone in verdict.message


def test_the_table_of_the_index_is_at_one_with_it(shop: Shop, published: Published) -> None:
    store = shop.deployment.store
    report = publish_table(store, published, TableSettings(hide_duplicates=False))
    both = judge_table(store, published, f"{report.folder}/{TABLE}", 10)
    assert [verdict.passed for verdict in both] == [True, True]
    assert both[1].facts["expected"] == len(PRODUCTS) - 1


def test_strangers_absent_products_and_short_lists_in_the_table_are_named(shop: Shop, published: Published) -> None:
    store = shop.deployment.store
    report = publish_table(store, published, TableSettings(hide_duplicates=False))
    path = f"{report.folder}/{TABLE}"
    with store.open(path) as handle:
        rows = pq.read_table(handle).to_pylist()
    kept = [row for row in rows if row["product_id"] != "box" and (row["product_id"], row["rank"]) != ("bootie", 3)]
    kept += [{**kept[-1], "similar_id": "stranger", "rank": 4}]
    with store.open(path) as handle:
        schema = pq.read_schema(handle)
    with store.writing(path) as file:
        pq.write_table(pa.Table.from_pylist(kept, schema=schema), file)
    table, filled = judge_table(store, published, path, 10)
    assert not table.passed
    assert "box" in table.message and "stranger" in table.message
    assert not filled.passed
    assert filled.facts["short"] == 2 and "bootie" in filled.message


def test_a_table_that_is_gone_fails_both(shop: Shop, published: Published) -> None:
    both = judge_table(shop.deployment.store, published, "similar_products/none/x.parquet", 10)
    assert [verdict.passed for verdict in both] == [False, False]


def test_an_index_whose_item_table_is_gone_is_an_error_for_people(shop: Shop, published: Published) -> None:
    shop.deployment.store.delete(f"index/{published.version}/items.parquet")
    with pytest.raises(StoreError, match="publish the index again"):
        judge_pictures(shop.deployment.store, published)
