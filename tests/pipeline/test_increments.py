"""What each later batch costs, and what can be found between its run and the next publication."""

import pytest
from support.fault_server import FaultServer, etag_of, status
from support.hostile import blank_png
from support.shops import NOTHING, Shop, cost, rows_of

from orchestration import printing
from vetrina.errors import NotFound, SettingError

FIRST = ["oak-chair", "white-chair", "coffee-cup", "box"]
SECOND = ["umbrella", "bootie", "slippers"]


def _take(shop: Shop, catalog: str) -> None:
    shop.work(shop.register(catalog))
    shop.publish()


def test_an_unchanged_run_costs_nothing_and_a_new_batch_only_itself(shop: Shop, server: FaultServer) -> None:
    spring = shop.catalog("spring", rows_of(server, FIRST))
    first = shop.work(shop.register(spring))
    assert cost(first) == {**NOTHING, "fetched": 4, "detected": 4, "embedded": cost(first)["embedded"]}
    assert cost(first)["embedded"] >= 4

    assert cost(shop.work(shop.register(spring))) == NOTHING
    assert server.counts.total() == 4

    # The second catalog repeats a product as it is and brings three.
    second = shop.work(shop.register(shop.catalog("summer", rows_of(server, [*SECOND, "box"]))))
    assert second.metadata["catalog"]["rows"] == 4
    assert second.metadata["catalog"]["unchanged"] == 1
    assert (cost(second)["fetched"], cost(second)["detected"], cost(second)["unchanged"]) == (3, 3, 0)
    assert max(server.counts.values()) == 1


def test_a_new_batch_is_searchable_before_the_index_is_built_again(shop: Shop, server: FaultServer) -> None:
    _take(shop, shop.catalog("spring", rows_of(server, FIRST)))
    index = shop.deployment.window().index.manifest
    shop.work(shop.register(shop.catalog("summer", rows_of(server, SECOND))))
    assert shop.deployment.window().index.manifest == index
    assert set(shop.similar("box")) == {*FIRST, *SECOND} - {"box"}
    assert set(shop.similar("bootie")) == {*FIRST, *SECOND} - {"bootie"}
    before = {name: shop.similar(name) for name in [*FIRST, *SECOND]}
    shop.publish()
    assert shop.deployment.window().index.manifest != index
    assert {name: shop.similar(name) for name in before}.keys() == before.keys()
    assert set(shop.similar("box")) == set(before["box"])


def test_a_changed_attribute_costs_one_conditional_request(shop: Shop, server: FaultServer) -> None:
    shop.work(shop.register(shop.catalog("spring", rows_of(server, FIRST, price="10"))))
    rows = rows_of(server, FIRST, price="10")
    rows[0]["price"] = "12"
    before = len(server.requests)
    run = shop.work(shop.register(shop.catalog("spring", rows)))
    (request,) = server.requests[before:]
    assert (request.path, request.headers["if-none-match"]) == (
        "/oak-chair.png",
        etag_of((server.pictures or {})["/oak-chair.png"]),
    )
    assert cost(run) == {**NOTHING, "unchanged": 1}


def test_a_changed_price_takes_no_product_out_while_the_picture_server_is_down(
    shop: Shop, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.add(shop.catalog("spring", rows_of(server, FIRST, price="10")))
    server.fail("/box.png", status(503))
    report = shop.add(shop.catalog("changes", rows_of(server, ["box"], price="12")))
    assert (report["total"]["reused"], report["total"]["kept"]) == (1, 1)
    assert set(shop.similar("box")) == set(FIRST) - {"box"}
    assert shop.states() == {}
    printing.intake(report)
    assert "1 of these as they were before: their servers fail now" in capsys.readouterr().out


def test_a_picture_that_changed_behind_its_address_is_detected_again(shop: Shop, server: FaultServer) -> None:
    _take(shop, shop.catalog("spring", rows_of(server, FIRST, price="10")))
    assert server.pictures is not None
    server.pictures["/box.png"] = server.pictures["/white-chair.png"]
    run = shop.work(shop.register(shop.catalog("spring", rows_of(server, ["box"], price="11"))))
    assert cost(run) == {**NOTHING, "fetched": 1}  # these pixels are known
    answer = shop.deployment.window().similar("white-chair", 1).answer
    assert answer.neighbours[0].product_id == "box"
    assert answer.neighbours[0].score == pytest.approx(1.0, abs=1e-5)


def test_the_same_picture_under_other_ids_is_detected_and_embedded_once(shop: Shop, server: FaultServer) -> None:
    url = server.url("/teddy-bear.png")
    first = shop.work(shop.register(shop.catalog("spring", [{"id": "1", "url": url}, {"id": "2", "url": url}])))
    assert (cost(first)["fetched"], cost(first)["detected"]) == (1, 1)
    again = shop.work(shop.register(shop.catalog("summer", [{"id": "3", "url": url}])))
    assert cost(again) == {**NOTHING, "unchanged": 1}
    (server.pictures or {})["/bear-again.png"] = (server.pictures or {})["/teddy-bear.png"]
    other_url = shop.catalog("autumn", [{"id": "4", "url": server.url("/bear-again.png")}])
    assert cost(shop.work(shop.register(other_url))) == {**NOTHING, "fetched": 1}
    shop.publish()
    assert set(shop.similar("1")) == {"2", "3", "4"}


def test_a_removed_product_never_shows_again_and_k_is_still_filled(shop: Shop, server: FaultServer) -> None:
    _take(shop, shop.catalog("spring", rows_of(server, [*FIRST, *SECOND])))
    nearest, *others = shop.similar("oak-chair")
    removal = [{"id": nearest, "url": "", "deleted": "yes"}]
    run = shop.work(shop.register(shop.catalog("removals", removal)))
    assert (cost(run), run.metadata["catalog"]["removed"]) == (NOTHING, 1)
    # The index is older than the removal.
    assert shop.similar("oak-chair") == others
    assert shop.similar("oak-chair", k=3) == others[:3]
    with pytest.raises(NotFound):
        shop.similar(nearest)
    shop.publish()
    assert shop.similar("oak-chair") == others
    assert shop.deployment.coverage().shop().rows == len(others) + 1


def test_a_removed_product_may_come_back(shop: Shop, server: FaultServer) -> None:
    _take(shop, shop.catalog("spring", rows_of(server, FIRST)))
    shop.work(shop.register(shop.catalog("changes", [{"id": "box", "url": "", "deleted": "1"}])))
    assert "box" not in shop.similar("oak-chair")
    back = shop.work(shop.register(shop.catalog("changes", rows_of(server, ["box"]))))
    assert cost(back) == {**NOTHING, "unchanged": 1}
    assert "box" in shop.similar("oak-chair")


def test_a_product_whose_new_picture_failed_shows_its_old_one_no_longer(shop: Shop, server: FaultServer) -> None:
    _take(shop, shop.catalog("spring", rows_of(server, FIRST)))
    shop.work(shop.register(shop.catalog("changes", [{"id": "box", "url": server.url("/gone.png")}])))
    assert "box" not in shop.similar("oak-chair")  # with the older index
    shop.publish()
    assert "box" not in shop.similar("oak-chair")
    assert shop.states() == {"box": "fetch_failed: http-404"}


def test_a_product_without_a_detection_goes_on_whole(shop: Shop, server: FaultServer) -> None:
    (server.pictures or {})["/blank.png"] = blank_png()
    report = shop.add(shop.catalog("spring", rows_of(server, ["blank", "oak-chair"])))
    assert report["batches"][0]["states"] == {"indexed": 1, "indexed_whole": 1}
    assert shop.similar("blank") == ["oak-chair"]


def test_another_score_threshold_needs_no_new_detection(shop: Shop, server: FaultServer) -> None:
    batch = shop.register(shop.catalog("spring", rows_of(server, FIRST)))
    crops = shop.work(batch).metadata["crops"]["crops"]
    shop.publish()
    shop.set(MIN_SCORE=0.99)
    # Asked before the batch ran again, the index in place answers.
    assert set(shop.similar("box")) == set(FIRST) - {"box"}
    run = shop.work(batch)
    assert cost(run) == NOTHING
    assert run.metadata["crops"]["crops"] < crops
    shop.publish()
    assert shop.deployment.coverage().shop().states == {"indexed_whole": 4}
    assert set(shop.similar("box")) == set(FIRST) - {"box"}


def test_a_catalog_added_under_other_settings_keeps_the_products_of_older_batches(
    shop: Shop, server: FaultServer
) -> None:
    shop.add(shop.catalog("spring", rows_of(server, FIRST)))
    shop.set(MIN_SCORE=0.99)
    report = shop.add(shop.catalog("summer", rows_of(server, SECOND)))
    assert report["total"]["detected"] == len(SECOND)
    assert set(shop.similar("box")) == {*FIRST, *SECOND} - {"box"}
    assert sum(shop.deployment.coverage().shop().states.values()) == len(FIRST) + len(SECOND)
    assert "pending" not in shop.deployment.coverage().shop().states


def test_an_unknown_class_in_the_settings_is_refused_by_name(shop: Shop, server: FaultServer) -> None:
    batch = shop.register(shop.catalog("spring", rows_of(server, FIRST)))
    shop.set(CLASSES="Chair, Cofee cup")
    with pytest.raises(SettingError, match=r"Cofee cup.*Coffee cup"):
        shop.deployment.detector.selection()
    with pytest.raises(Exception, match=r"^[^\n]*Cofee cup[^\n]*$"):  # the run says so too, in one line
        shop.work(batch)


def test_a_transient_failure_is_asked_again_and_a_lasting_one_is_not(shop: Shop, server: FaultServer) -> None:
    server.fail("/box.png", status(503))
    server.fail("/umbrella.png", status(404))
    batch = shop.register(shop.catalog("spring", rows_of(server, ["oak-chair", "box", "umbrella"])))
    shop.work(batch)
    server.heal("/box.png")
    server.heal("/umbrella.png")
    assert (cost(shop.work(batch))["fetched"], server.count("/umbrella.png")) == (1, 1)
    states = {product_id: row["state"] for product_id, row in shop.outcomes(batch).items()}
    assert states == {"oak-chair": "ok", "box": "ok", "umbrella": "fetch_failed"}
