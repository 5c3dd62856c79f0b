"""Sync without Dagster: what is fetched, what makes a batch, what is refused, and what a broken export may not do."""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import fault_server as faults
from support.fault_server import FaultServer

from vetrina.catalog.batches import list_batches, register_batch
from vetrina.catalog.difference import Difference, RemovalsRefused, snapshot_difference
from vetrina.catalog.problems import list_set_aside
from vetrina.catalog.shop import catalogue_batch, shop_now
from vetrina.catalog.source_files import ReadOptions, open_source
from vetrina.catalog.syncing import SyncOrder, SyncResult, sync_catalog
from vetrina.errors import CatalogError, SourceUnreachable
from vetrina.store import Store
from vetrina.web_files import DownloadLimits

QUICK = DownloadLimits(attempts=2, backoff=0.0, read_timeout=1.5, deadline=30, allow_private=True)


def export(products: Mapping[str, str]) -> bytes:
    """A CSV of products, each with a price."""
    rows = (f"{name},https://pics.example/{name}.jpg,{price}\n" for name, price in products.items())
    return "".join(("id,image_url,price\n", *rows)).encode()


TEN = {f"p{number}": "1" for number in range(10)}


class Source:
    """A catalog on a web server, and the store that it is synced to."""

    def __init__(self, home: Path, server: FaultServer) -> None:
        self.server = server
        self.store = Store(home / "store")
        self.path = "/exports/shop.csv"

    def put(self, content: bytes) -> None:
        assert self.server.pictures is not None
        self.server.pictures[self.path] = content

    def order(self, **changes: Any) -> SyncOrder:
        given = {"source": self.server.url(self.path) + "?token=secret", "options": ReadOptions(), "limits": QUICK}
        return SyncOrder(**given | changes)

    def sync(self, **changes: Any) -> SyncResult:
        result = sync_catalog(self.store, self.order(**changes))
        if result.batch is not None:
            catalogue_batch(self.store, result.batch)
        return result

    @property
    def products(self) -> set[str]:
        return set(shop_now(self.store))

    @property
    def batches(self) -> int:
        return len(list_batches(self.store))

    @property
    def problems(self) -> list[str]:
        return [problem.reason for problem in list_set_aside(self.store)]


@pytest.fixture
def source(tmp_path: Path, server: FaultServer) -> Source:
    return Source(tmp_path, server)


def _counts(difference: Difference | None) -> dict[str, int]:
    assert difference is not None
    names = ("new", "changed", "unchanged", "vanished", "removed", "rejected")
    return {name: value for name in names if (value := getattr(difference, name))}


def test_only_what_is_new_changed_or_vanished_becomes_a_batch(source: Source) -> None:
    source.put(export(TEN))
    first = source.sync()
    assert first.batch is not None
    assert (first.batch.mode, first.batch.origin, first.batch.catalog) == ("snapshot", "sync", "shop")
    assert _counts(first.difference) == {"new": 10}

    changed = {**TEN, "p1": "2", "p10": "1"}
    del changed["p9"]
    source.put(export(changed))
    second = source.sync()
    assert _counts(second.difference) == {"new": 1, "changed": 1, "vanished": 1, "unchanged": 8}
    assert second.batch is not None
    report = catalogue_batch(source.store, second.batch)
    assert (report.accepted, report.unchanged, report.removed_by_snapshot) == (2, 8, 1)
    assert source.products == {*TEN, "p10"} - {"p9"}


def test_a_source_that_did_not_change_is_not_even_sent(source: Source) -> None:
    source.put(export(TEN))
    source.sync()
    again = source.sync()
    assert "has not changed since" in again.skipped
    assert (again.batch, again.difference, source.batches) == (None, None, 1)
    first, second = source.server.requests
    assert "if-none-match" not in first.headers
    assert second.headers["if-none-match"] == faults.etag_of(export(TEN))


def test_a_server_that_knows_no_conditions_costs_a_fetch_and_no_batch(source: Source) -> None:
    source.server.fail(source.path, faults.answer(export(TEN)))
    source.sync()
    again = source.sync()
    assert "has not changed since" in again.skipped
    assert source.batches == 1


def test_another_file_with_the_same_rows_makes_no_batch(source: Source) -> None:
    source.put(export(TEN))
    source.sync()
    source.put(export(dict(reversed(TEN.items()))))
    again = source.sync()
    assert "says nothing new" in again.skipped
    assert _counts(again.difference) == {"unchanged": 10}
    assert source.batches == 1
    assert "has not changed" in source.sync().skipped  # remembered all the same


def test_after_another_batch_of_the_catalog_the_source_is_fetched_and_wins_again(
    source: Source, tmp_path: Path
) -> None:
    source.put(export(TEN))
    source.sync()
    (tmp_path / "shop.csv").write_bytes(export({"p1": "99"}))
    batch, _ = register_batch(source.store, str(tmp_path / "shop.csv"))
    catalogue_batch(source.store, batch)
    assert _counts(source.sync().difference) == {"changed": 1, "unchanged": 9}


def test_a_batch_that_nobody_has_catalogued_yet_counts(source: Source, tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_bytes(export(TEN))
    register_batch(source.store, str(tmp_path / "shop.csv"))
    source.put(export(TEN))
    assert "says nothing new" in source.sync().skipped
    assert source.batches == 1


def test_a_dry_run_says_what_would_change_and_changes_nothing(source: Source) -> None:
    source.put(export(TEN))
    for _ in range(2):
        dry = source.sync(dry_run=True)
        assert _counts(dry.difference) == {"new": 10}
        assert "dry run" in dry.skipped
    assert (source.batches, source.store.names("intake")) == (0, [])
    source.sync()
    source.put(export({"p0": "1"}))
    with pytest.raises(RemovalsRefused):
        source.sync(dry_run=True)
    assert source.problems == []


def test_what_another_catalog_changed_since_is_left_to_it(source: Source, tmp_path: Path) -> None:
    source.put(export(TEN))
    source.sync()
    (tmp_path / "prices.csv").write_bytes(export({"p1": "99"}))
    batch, _ = register_batch(source.store, str(tmp_path / "prices.csv"))
    catalogue_batch(source.store, batch)
    assert "has not changed" in source.sync().skipped
    for name in source.store.names("intake/synced"):  # what was remembered is lost
        source.store.delete(f"intake/synced/{name}")
    assert "came by other catalogs" in source.sync().skipped
    assert source.batches == 2


# ---- The guard


def test_a_sync_that_would_remove_too_much_is_refused_until_it_is_confirmed(source: Source) -> None:
    source.put(export(TEN))
    source.sync()
    source.put(export(dict(list(TEN.items())[:7])))
    for _ in range(2):
        with pytest.raises(RemovalsRefused, match=r"would remove 3 of the 10 .*30%, allowed are 20%.*--confirm-rem"):
            source.sync(max_removed=0.2)
        assert (source.batches, source.products) == (1, set(TEN))
    (problem,) = source.problems
    assert "would remove 3 of the 10" in problem
    assert source.sync(confirmed=True).batch is not None
    assert len(source.products) == 7
    assert source.problems == []


@pytest.mark.parametrize(("left", "refused"), [(8, False), (7, True)])
def test_the_share_itself_is_allowed(source: Source, left: int, refused: bool) -> None:
    source.put(export(TEN))
    source.sync()
    source.put(export(dict(list(TEN.items())[:left])))
    if refused:
        with pytest.raises(RemovalsRefused):
            source.sync()
    else:
        source.sync()
    assert len(source.products) == (10 if refused else left)


def test_rows_that_mark_removals_and_rows_without_pictures_count_as_removals(source: Source) -> None:
    source.put(export(TEN))
    source.sync()
    source.put(export(TEN).replace(b"https://", b"gopher://"))
    with pytest.raises(RemovalsRefused, match="no usable row"):
        source.sync()
    lines = export(TEN).decode().splitlines()
    marked = [f"{line},{'deleted' if line.startswith('id') else 'yes'}" for line in lines]
    source.put("\n".join((*marked, "")).encode())
    with pytest.raises(RemovalsRefused, match="would remove 10 of the 10"):
        source.sync()
    assert source.products == set(TEN)


def test_products_of_other_catalogs_are_neither_removed_nor_counted(source: Source, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_bytes(export({f"o{number}": "1" for number in range(100)}))
    register_batch(source.store, str(tmp_path / "other.csv"))
    source.put(export(TEN))
    source.sync()
    source.put(export({"p0": "1"}))
    with pytest.raises(RemovalsRefused, match="9 of the 10"):
        source.sync()
    source.sync(confirmed=True)
    assert source.products == {"p0", *(f"o{number}" for number in range(100))}


def test_a_header_without_rows_empties_no_shop(source: Source) -> None:
    source.put(export(TEN))
    source.sync()
    source.put(export({}))
    with pytest.raises(RemovalsRefused, match="no usable row"):
        source.sync()
    assert source.products == set(TEN)


def test_what_a_former_source_had_wrong_is_forgotten_by_the_schedules_next_sync(source: Source) -> None:
    with pytest.raises(CatalogError):
        source.sync(source=source.server.url("/former.csv"))
    assert len(source.problems) == 1
    source.put(export(TEN))
    source.sync()
    assert source.problems == []


# ---- Broken exports


BROKEN = {
    "empty": (b"", "empty"),
    "a web page": (b"<!DOCTYPE html><html><body>Please log in</body></html>", "HTML"),
    "without its ids": (export(TEN).replace(b"id,", b"colour,", 1), "no id column"),
    "cut within a row": (export(TEN)[:-20], "is cut"),
    "a cut gzip": (gzip.compress(export(TEN))[:-8], "is cut"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_export_is_refused_in_words_and_makes_no_batch(source: Source, what: str) -> None:
    source.put(export(TEN))
    source.sync()
    content, says = BROKEN[what]
    source.put(content)
    with pytest.raises(CatalogError, match=says):
        source.sync(confirmed=True)
    assert (source.batches, source.products) == (1, set(TEN))
    assert says in source.problems[0]
    source.put(export(TEN))
    source.sync()
    assert source.problems == []


TROUBLE = {
    "shorter than announced": (faults.short(), "ended early"),
    "longer than announced": (faults.longer(), "more came than"),
    "in cut chunks": (faults.cut_chunks(), "ended early"),
    "reset": (faults.reset(), "connection"),
    "silent": (faults.stall(), "sent nothing"),
    "500": (faults.status(500), "answered 500"),
}


@pytest.mark.parametrize("what", TROUBLE)
def test_an_answer_in_trouble_is_asked_again_and_then_said(source: Source, what: str) -> None:
    fault, says = TROUBLE[what]
    source.server.fail(source.path, fault)
    with pytest.raises(SourceUnreachable, match=f"after 2 tries.*{says}") as refused:
        source.sync()
    assert "secret" not in str(refused.value)
    assert source.server.count(source.path) == 2
    assert source.batches == 0
    assert source.store.names("scratch") == []


def test_trouble_that_passes_costs_one_more_request(source: Source) -> None:
    source.put(export(TEN))
    source.server.fail(source.path, faults.status(503, times=1))
    assert source.sync().batch is not None


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (faults.status(404), "answered 404"),
        (faults.redirect("ftp://host/shop.csv"), "no http or https address"),
        (faults.redirect("/exports/shop.csv"), "too-many-redirects"),
        (faults.endless(), "larger than"),
    ],
    ids=["missing", "redirect to ftp", "circle", "endless"],
)
def test_an_address_that_may_not_or_cannot_be_fetched_is_not_tried_for_long(
    source: Source, fault: faults.Fault, says: str
) -> None:
    guarded = DownloadLimits(attempts=2, backoff=0.0, max_bytes=1 << 20, deadline=5, allow_private=True)
    source.server.fail(source.path, fault)
    with pytest.raises(CatalogError, match=says) as refused:
        source.sync(limits=guarded)
    assert not isinstance(refused.value, SourceUnreachable)
    assert source.batches == 0


def test_private_addresses_are_refused_unless_they_are_allowed(source: Source) -> None:
    source.put(export(TEN))
    with pytest.raises(CatalogError, match=r"loopback.*VETRINA_ALLOW_PRIVATE"):
        source.sync(limits=DownloadLimits())
    assert source.server.requests == []
    with pytest.raises(CatalogError, match=r"link-local.*VETRINA_ALLOW_PRIVATE"):
        source.sync(source="http://[::ffff:169.254.169.254]/latest", limits=DownloadLimits())


def test_relative_pictures_are_beside_the_export_and_its_query_is_never_kept(source: Source) -> None:
    source.put(b"id,image_url\n1,pics/1.jpg\n")
    batch = source.sync().batch
    assert batch is not None
    assert batch.base == source.server.url("/exports")
    assert "secret" not in "".join(
        source.store.read(path).decode("utf-8", "replace") for path in _files(source.store, "")
    )


def _files(store: Store, folder: str) -> list[str]:
    root = Path(store.root)
    return [str(file.relative_to(root)) for file in (root / folder).rglob("*") if file.is_file()]


# ---- Paths


def test_a_file_is_synced_like_an_address(tmp_path: Path) -> None:
    store, file = Store(tmp_path / "store"), tmp_path / "shop.csv.gz"
    file.write_bytes(gzip.compress(export(TEN)))
    order = SyncOrder(str(file), ReadOptions(), name="main")
    assert sync_catalog(store, order).batch is not None
    assert "has not changed" in sync_catalog(store, order).skipped
    file.write_bytes(gzip.compress(export({**TEN, "p3": "7"})))
    result = sync_catalog(store, order)
    assert (result.catalog, _counts(result.difference)) == ("main", {"changed": 1, "unchanged": 9})
    file.unlink()
    with pytest.raises(CatalogError, match="There is no catalog at"):
        sync_catalog(store, order)
    assert len(list_batches(store)) == 2


_SHOPS = st.dictionaries(st.sampled_from([f"p{number}" for number in range(8)]), st.sampled_from("123"), min_size=1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shops=st.lists(_SHOPS, min_size=1, max_size=5))
def test_the_difference_foretells_what_the_batch_does_and_the_shop_ends_as_the_export(
    tmp_path_factory: pytest.TempPathFactory, shops: list[dict[str, str]]
) -> None:
    home = tmp_path_factory.mktemp("difference")
    store, file = Store(home / "store"), home / "shop.csv"
    for products in shops:
        file.write_bytes(export(products))
        order = SyncOrder(str(file), ReadOptions(), confirmed=True)
        result = sync_catalog(store, order)
        if result.batch is not None and result.difference is not None:
            report = catalogue_batch(store, result.batch)
            foretold = result.difference
            assert (report.accepted, report.unchanged, report.removed_by_snapshot, report.rejected) == (
                foretold.new + foretold.changed,
                foretold.unchanged,
                foretold.vanished,
                foretold.rejected,
            )
        assert set(shop_now(store)) == set(products)
        with open_source(str(file)) as found:
            assert snapshot_difference(store, found, ReadOptions(), "shop").is_empty
