"""What becomes of a picture that is known from an earlier batch, and which pictures a retry asks for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import fault_server as faults
from support.fault_server import Fault, FaultServer

from vetrina.catalog.batches import Batch, register_batch
from vetrina.catalog.shop import catalogue_batch
from vetrina.pictures.collecting import ImagesReport, collect_pictures
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.fetching import Fetcher, FetchLimits
from vetrina.store import Store, blob_path
from vetrina.tables import IMAGES, read_rows

LIMITS = FetchLimits(attempts=2, backoff=0, read_timeout=0.3, deadline=2, allow_private=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def batch_of(store: Store, tmp_path: Path) -> Callable[[str], Batch]:
    """Registers and reads a catalog with these rows."""

    def make(rows: str) -> Batch:
        file = tmp_path / "shop.csv"
        file.write_text(f"id,url,price,deleted\n{rows}\n")
        batch, _ = register_batch(store, str(file))
        catalogue_batch(store, batch)
        return batch

    return make


def collect(store: Store, batch: Batch, *, retry: bool = False) -> tuple[ImagesReport, dict[str, dict[str, Any]]]:
    """What collecting cost, and the outcome for each product."""
    with Fetcher(LIMITS) as fetcher, DecoderPool(1) as decoders:
        report = collect_pictures(store, batch, fetcher, decoders, retry_failed=retry)
    return report, {row["product_id"]: row for row in read_rows(store, batch.path("images.parquet"), IMAGES)}


@pytest.mark.parametrize(
    "fault",
    [faults.status(503), faults.too_many("0", None), faults.stall(), faults.reset()],
    ids=["503", "429", "no answer", "reset"],
)
def test_a_changed_price_keeps_its_product_while_the_picture_server_is_down(
    store: Store, batch_of: Callable[[str], Batch], server: FaultServer, fault: Fault
) -> None:
    url = server.url("/box.png")
    _, before = collect(store, batch_of(f"A,{url},10,"))
    server.fail("/box.png", fault)
    changed = batch_of(f"A,{url},11,")
    report, after = collect(store, changed)
    assert after == before
    assert (report.kept, report.reused, report.failed) == (1, 1, 0)
    server.heal("/box.png")
    asked = server.count("/box.png")
    collect(store, batch_of(f"A,{url},12,"))
    assert server.count("/box.png") == asked + 1  # the next change asks again, by what the server gave at first
    assert server.requests[-1].headers["if-none-match"]


@pytest.mark.parametrize("code", [404, 410])
def test_a_known_picture_that_its_server_no_longer_has_is_a_failure(
    store: Store, batch_of: Callable[[str], Batch], server: FaultServer, code: int
) -> None:
    url = server.url("/box.png")
    collect(store, batch_of(f"A,{url},10,"))
    server.fail("/box.png", faults.status(code))
    report, after = collect(store, batch_of(f"A,{url},11,"))
    assert (after["A"]["state"], after["A"]["reason"]) == ("fetch_failed", f"http-{code}")
    assert (report.kept, report.failed) == (0, 1)


def test_a_known_picture_that_the_store_has_lost_is_not_taken_for_kept(
    store: Store, batch_of: Callable[[str], Batch], server: FaultServer
) -> None:
    url = server.url("/box.png")
    _, before = collect(store, batch_of(f"A,{url},10,"))
    store.delete(blob_path(before["A"]["sha256"]))
    server.fail("/box.png", faults.status(503))
    report, after = collect(store, batch_of(f"A,{url},11,"))
    assert (after["A"]["reason"], report.kept, report.failed) == ("http-503", 0, 1)


@pytest.mark.parametrize("retry", [False, True])
def test_a_picture_that_failed_for_now_is_taken_from_a_batch_that_has_got_it_since(
    store: Store, batch_of: Callable[[str], Batch], server: FaultServer, retry: bool
) -> None:
    url = server.url("/box.png")
    server.fail("/box.png", faults.status(503))
    first = batch_of(f"A,{url},10,")
    assert collect(store, first)[1]["A"]["reason"] == "http-503"
    server.heal("/box.png")
    collect(store, batch_of(f"B,{url},10,"))
    server.fail("/box.png", faults.status(503))
    assert collect(store, first, retry=retry)[1]["A"]["state"] == "ok"


def test_a_retry_asks_only_for_pictures_that_current_products_show(
    store: Store, batch_of: Callable[[str], Batch], server: FaultServer
) -> None:
    names = {"A": "gone-a", "B": "gone-b", "C": "gone-c", "D": "down-d"}
    server.fail("/down-d.png", faults.status(503))
    first = batch_of("\n".join(f"{product},{server.url(f'/{name}.png')},10," for product, name in names.items()))
    _, before = collect(store, first)
    batch_of(f"A,{server.url('/box.png')},10,\nB,,,yes\nD,,,yes")
    server.requests.clear()
    _, after = collect(store, first, retry=True)
    assert server.counts == {"/gone-c.png": 1}
    assert {product: after[product] for product in "ABD"} == {product: before[product] for product in "ABD"}
