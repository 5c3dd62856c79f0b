"""Batches win by the order in which they were registered, whatever order they are worked in."""

from support.fault_server import FaultServer
from support.shops import Shop, cost, rows_of

from vetrina.catalog.batches import is_worked


def test_the_later_batch_wins_although_it_was_worked_first(shop: Shop, server: FaultServer) -> None:
    earlier = shop.register(shop.catalog("a", rows_of(server, ["oak-chair", "box", "umbrella"])))
    later = shop.register(shop.catalog("b", [{"id": "box", "url": server.url("/white-chair.png")}]))
    shop.work(later)
    shop.work(earlier)
    shop.publish()
    window = shop.deployment.window()
    assert {item.batch for item in window.engine.items_of("box")} == {later.key}
    assert {item.batch for item in window.engine.items_of("umbrella")} == {earlier.key}
    coverage = shop.deployment.coverage()
    assert coverage.batch(earlier).states["superseded"] == 1
    assert coverage.batch(earlier).rows == 3
    assert coverage.shop().rows == 3


def test_content_that_returns_is_a_new_batch(shop: Shop, server: FaultServer) -> None:
    red, blue = rows_of(server, ["box"], colour="red"), rows_of(server, ["box"], colour="blue")
    batches = [shop.register(shop.catalog("spring", rows)) for rows in (red, blue, red)]
    assert [batch.sequence for batch in batches] == [1, 2, 3]
    assert len({batch.key for batch in batches}) == 3
    assert shop.register(shop.catalog("spring", red)) == batches[2]
    runs = [shop.work(batch) for batch in batches]
    assert [cost(run)["fetched"] for run in runs] == [1, 0, 0]
    shop.publish()
    assert {item.batch for item in shop.deployment.window().engine.items_of("box")} == {batches[2].key}


def test_a_snapshot_removes_what_it_lacks_of_its_own_catalog_only(shop: Shop, server: FaultServer) -> None:
    spring, summer = ["oak-chair", "box", "umbrella"], ["bootie", "slippers"]
    shop.work(shop.register(shop.catalog("spring", rows_of(server, spring))))
    shop.work(shop.register(shop.catalog("summer", rows_of(server, summer))))
    report = shop.add(
        shop.catalog("spring", rows_of(server, ["oak-chair", "teddy-bear"])), snapshot=True, confirmed=True
    )
    (batch,) = report["batches"]
    assert batch["states"].get("unchanged") == 1
    assert batch["rows"] == sum(batch["states"].values()) == 2
    assert batch["removed_by_snapshot"] == 2
    assert batch["cost"]["fetched"] == 1
    assert set(shop.similar("oak-chair")) == {"teddy-bear", *summer}


def test_a_product_that_another_catalog_took_over_outlives_the_first_ones_snapshot(
    shop: Shop, server: FaultServer
) -> None:
    shop.work(shop.register(shop.catalog("spring", rows_of(server, ["oak-chair", "box"]))))
    shop.work(shop.register(shop.catalog("summer", rows_of(server, ["box"], price="9"))))
    shop.work(shop.register(shop.catalog("spring", rows_of(server, ["oak-chair"])), "snapshot"))
    shop.publish()
    assert shop.similar("oak-chair") == ["box"]


def test_duplicate_ids_in_one_file_end_with_the_last(shop: Shop, server: FaultServer) -> None:
    rows = [*rows_of(server, ["box"], n="1"), *rows_of(server, ["umbrella"]), *rows_of(server, ["box"], n="2")]
    rows[2]["url"] = server.url("/bootie.png")
    report = shop.add(shop.catalog("spring", rows))
    assert report["batches"][0]["rows"] == 3
    assert report["batches"][0]["states"]["superseded"] == 1
    assert server.count("/box.png") == 0
    (problem,) = report["batches"][0]["problems"]
    assert (problem["line"], problem["product_id"], problem["reason"]) == (2, "box", "duplicate-id")


def test_one_bad_catalog_does_not_stop_the_others(shop: Shop, server: FaultServer) -> None:
    good = shop.catalog("good", rows_of(server, ["box", "umbrella"]))
    report = shop.add(str(shop.folder / "missing.csv"), good)
    assert [failure["catalog"] for failure in report["failed"]] == [str(shop.folder / "missing.csv")]
    assert shop.similar("box") == ["umbrella"]


def test_a_sync_whose_only_news_is_a_rejected_row_shows_it_in_the_status(shop: Shop, server: FaultServer) -> None:
    rows = rows_of(server, ["oak-chair", "box"])
    shop.sync(shop.catalog("spring", rows))
    report = shop.sync(shop.catalog("spring", [*rows, {"id": "vase", "url": "ftp://pics.example/vase.png"}]))
    (batch,) = report["batches"]
    assert batch["states"] == {"rejected": 1, "unchanged": 2}
    assert shop.states() == {"vase": "rejected: bad-picture"}
    assert shop.similar("box") == ["oak-chair"]


def test_a_row_that_is_marked_deleted_is_not_removed_by_a_snapshot(shop: Shop, server: FaultServer) -> None:
    rows = rows_of(server, ["oak-chair", "box", "umbrella"])
    shop.work(shop.register(shop.catalog("spring", rows)))
    marked = [rows[0], {**rows[1], "deleted": "yes"}]
    (delta,) = shop.add(shop.catalog("spring", marked[1:]))["batches"]
    assert (delta["removed_by_snapshot"], delta["states"]) == (0, {"removed": 1})
    (snapshot,) = shop.add(shop.catalog("spring", marked), snapshot=True, confirmed=True)["batches"]
    assert (snapshot["removed_by_snapshot"], snapshot["states"]) == (1, {"removed": 1, "unchanged": 1})


def test_what_a_killed_add_left_is_worked_by_the_next_one_although_the_file_has_changed(
    shop: Shop, server: FaultServer
) -> None:
    left = shop.register(shop.catalog("spring", rows_of(server, ["oak-chair", "box"])))
    other = shop.register(shop.catalog("summer", rows_of(server, ["bootie"])))
    report = shop.add(shop.catalog("spring", rows_of(server, ["oak-chair", "box", "umbrella"])))
    assert [entry["new"] for entry in report["batches"]] == [False, True]
    assert report["batches"][0]["batch"] == left.key
    assert set(shop.similar("box")) == {"oak-chair", "umbrella"}
    assert not is_worked(shop.deployment.store, other)  # of a catalog that was not named
