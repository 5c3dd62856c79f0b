"""Garbage collection: what goes, what stays, and that nobody can tell afterwards but by the space."""

import contextlib
import gzip
import math
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.fault_server import FaultServer, status
from support.shops import NOTHING, Shop, cost, rows_of

from orchestration import printing
from orchestration.evaluation import duplicates_in_shop
from orchestration.runs import RunFailed
from orchestration.upkeep import collect_garbage, roll_back
from vetrina.catalog.batches import list_batches
from vetrina.errors import NotFound, SettingError
from vetrina.garbage import sweep as sweeping
from vetrina.garbage.needed import Fingerprints
from vetrina.garbage.sweep import Swept, sweep
from vetrina.index.versions import current, history, verify
from vetrina.store import FileInfo, Store, blob_path

DAY = timedelta(days=1)
NAMES = ["oak-chair", "white-chair", "coffee-cup", "box", "umbrella", "bootie", "slippers", "teddy-bear"]


def fingerprints(shop: Shop) -> Fingerprints:
    deployment = shop.deployment
    return Fingerprints(
        detector=deployment.detector.open().fingerprint,
        labels=deployment.detector.labels_fingerprint(),
        extractor=deployment.extractor.open(deployment.store).fingerprint,
        embeddings=deployment.extractor.embeddings_fingerprint(deployment.detector),
        table=deployment.index.table(),
    )


def swept(shop: Shop, *, keep: int = 1, dry_run: bool = False, days: float = 2) -> Swept:
    """Garbage collection some days from now, with a grace period of one."""
    clock = datetime.now(UTC) + days * DAY
    store = shop.deployment.store
    return sweep(store, fingerprints(shop), keep_versions=keep, grace=DAY, dry_run=dry_run, clock=clock)


def files(shop: Shop, *kinds: str) -> set[str]:
    """The files of the store, or of some of its folders."""
    root = shop.folder / "store"
    found = (path for kind in kinds or ("",) for path in (root / kind).rglob("*") if path.is_file())
    return {str(path.relative_to(root)) for path in found if path.parent.name != "locks"}


def take(shop: Shop, server: FaultServer, name: str, products: list[str], **attributes: str) -> None:
    """A snapshot of these products becomes a batch and an index."""
    batch = shop.register(shop.catalog(name, rows_of(server, products, **attributes)), mode="snapshot")
    shop.work(batch)
    shop.publish()


def told(shop: Shop, products: list[str]) -> dict[str, Any]:
    """All that the shop answers."""
    return {"state": shop.end_state(), "similar": {name: shop.similar(name) for name in products}}


def sha_of(shop: Shop, product: str) -> str:
    found = {
        name: outcome["sha256"]
        for batch in list_batches(shop.deployment.store)
        for name, outcome in shop.outcomes(batch).items()
    }
    return str(found[product])


@pytest.mark.parametrize("seed", [1, 2])
def test_afterwards_all_answers_are_the_same_and_a_re_run_costs_nothing(
    shop: Shop, server: FaultServer, seed: int
) -> None:
    choose = random.Random(seed)
    for number in range(4):
        take(shop, server, "spring", choose.sample(NAMES, 5), price=str(choose.choice([1, number])))
    products = sorted(set(shop.similar(sorted(_shown(shop))[0])) | {sorted(_shown(shop))[0]})
    before, stored = told(shop, products), files(shop)

    report = swept(shop)

    assert report.left == []
    assert report.kinds["blobs"].files >= 1
    assert report.kinds["index"].files >= 4
    assert len(stored - files(shop)) == sum(amount.files for amount in report.kinds.values())
    assert told(shop, products) == before
    left = files(shop)
    for batch in list_batches(shop.deployment.store):
        assert cost(shop.work(batch)) == NOTHING
    assert shop.publish().metadata["similarity_index"]["built"] is False
    assert shop.publish().metadata["similar_products"]["built"] is False
    assert files(shop) == left
    # Every blob left is one that a product of the shop shows.
    assert files(shop, "blobs") == {blob_path(sha_of(shop, product)) for product in products}
    assert swept(shop).kinds == {}


def _shown(shop: Shop) -> set[str]:
    rows = shop.deployment.window().index.rows
    return {rows.product_id(number) for number in range(rows.products)}


def test_a_dry_run_says_what_would_go_and_deletes_nothing(shop: Shop, server: FaultServer) -> None:
    take(shop, server, "spring", NAMES[:4])
    take(shop, server, "spring", NAMES[2:5])
    stored = files(shop)
    dry = swept(shop, dry_run=True)
    assert files(shop) == stored
    assert dry.kinds["blobs"].files == 2
    real = swept(shop)
    assert (real.kinds, real.versions) == (dry.kinds, dry.versions)
    assert dry.as_json()["total"]["files"] == len(stored - files(shop))


def test_nothing_that_is_younger_than_the_grace_period_goes(shop: Shop, server: FaultServer) -> None:
    take(shop, server, "spring", NAMES[:4])
    take(shop, server, "spring", NAMES[2:5])
    (shop.folder / "store" / blob_path(sha_of(shop, "box"))).with_name(".0123.part").write_bytes(b"half")
    stored = files(shop)
    assert swept(shop, days=0.5).kinds == {}
    assert files(shop) == stored


def test_the_prints_of_pictures_that_no_product_shows_go(shop: Shop, server: FaultServer) -> None:
    take(shop, server, "spring", NAMES[:4])
    duplicates_in_shop(shop.deployment, progress=printing.Steps(quiet=True))
    assert len(files(shop, "prints")) == 4
    gone = sha_of(shop, NAMES[0])
    take(shop, server, "spring", NAMES[1:5])
    assert swept(shop).kinds["prints"].files == 1
    assert not any(path.endswith(gone) for path in files(shop, "prints"))


def test_while_a_batch_waits_its_pictures_are_not_judged(shop: Shop, server: FaultServer) -> None:
    take(shop, server, "spring", NAMES[:4])
    take(shop, server, "spring", NAMES[2:5])
    take(shop, server, "spring", NAMES[2:4])
    waiting = shop.register(shop.catalog("summer", rows_of(server, NAMES[:1])))
    kinds = ("blobs", "crops", "fetches", "detections", "vectors")
    stored = files(shop, *kinds)
    report = swept(shop)
    assert waiting.key in report.left[0]
    assert files(shop, *kinds) == stored
    # Index versions do not depend on it.
    assert report.kinds["index"].files > 0


def test_a_batch_that_arrives_meanwhile_keeps_the_pictures_that_it_finds(
    shop: Shop, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(shop, server, "spring", NAMES)
    take(shop, server, "spring", NAMES[:2])
    monkeypatch.setattr(sweeping, "_AT_ONCE", 1)
    delete = Store.delete
    arrived = []

    def delete_and_register(store: Store, path: str) -> None:
        delete(store, path)
        if path.startswith("blobs/") and not arrived:
            arrived.append(shop.register(shop.catalog("summer", rows_of(server, NAMES))))

    monkeypatch.setattr(Store, "delete", delete_and_register)
    report = swept(shop)
    assert report.kinds["blobs"].files == 1
    assert "arrived meanwhile" in report.left[-1]
    monkeypatch.undo()
    run = shop.work(arrived[0])
    # One picture was gone before it came; the others are only asked about.
    assert (cost(run)["fetched"], cost(run)["unchanged"]) == (1, len(NAMES) - 3)
    shop.publish()
    assert set(shop.similar("box")) == set(NAMES) - {"box"}


def _versions(shop: Shop, server: FaultServer, count: int) -> list[str]:
    """So many index versions, one after the other."""
    made = []
    for number in range(count):
        take(shop, server, "spring", NAMES[: 2 + number])
        now = current(shop.deployment.store)
        assert now is not None
        made.append(now.version)
    return made


def test_old_index_versions_go_and_a_rollback_finds_what_it_needs(shop: Shop, server: FaultServer) -> None:
    versions = _versions(shop, server, 5)
    for version in versions:
        shop.deployment.store.write(f"reports/{version}/evaluation-1.html", b"report")
    report = swept(shop, keep=1)
    # The newest, and the one that a rollback serves.
    assert report.versions == sorted(versions[-2:])
    store = shop.deployment.store
    assert {record.version for record in history(store)} == set(versions[-2:])
    assert set(store.names("index")) == {"published", *versions[-2:]}
    assert set(versions) & set(store.names("reports")) == set(versions[-2:])
    back = roll_back(shop.deployment, None)
    assert (back["version"], back["table"]) == (versions[-2], True)
    assert store.read_json("similar_products/current.json")["index"] == versions[-2]
    with pytest.raises(NotFound, match=versions[0]):
        roll_back(shop.deployment, versions[0])
    # The version that was rolled back from stays: it says what not to publish again.
    assert swept(shop, keep=1).versions == sorted(versions[-2:])


def test_what_other_settings_made_goes_with_the_last_index_of_theirs(shop: Shop, server: FaultServer) -> None:
    take(shop, server, "spring", NAMES[:4])
    tables = files(shop, "batches")
    shop.set(MIN_SCORE=0.9)
    (batch,) = list_batches(shop.deployment.store)
    # Between the change and its work, nothing of the serving index goes and pictures are not judged.
    report = swept(shop)
    assert "lacks pictures, labels or embeddings" in report.left[0]
    assert files(shop, "batches") == tables
    shop.work(batch)
    shop.publish()
    swept(shop, keep=2)
    assert tables < files(shop, "batches")
    take(shop, server, "spring", NAMES[:3])
    take(shop, server, "spring", NAMES[:2])
    report = swept(shop, keep=1)
    assert report.kinds["labels"].files == report.kinds["embeddings"].files == 1
    found = fingerprints(shop)
    names = {Path(path).stem for path in files(shop, "batches") if "/labels/" in path or "/embeddings/" in path}
    assert names == {found.labels, found.embeddings}


def test_a_rollback_to_a_version_that_is_about_to_go_does_not_get_it(
    shop: Shop, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = _versions(shop, server, 4)
    deployment, walk, told = shop.deployment, Store.walk, []

    def back() -> None:
        try:
            told.append(roll_back(deployment, versions[0])["version"])
        except NotFound as error:
            told.append(str(error))

    rollback = threading.Thread(target=back)

    def walk_and_roll_back(store: Store, folder: str) -> Iterator[FileInfo]:
        if folder == f"index/{versions[0]}" and rollback.ident is None:
            rollback.start()
            rollback.join(0.5)  # until it waits for its turn
        return walk(store, folder)

    monkeypatch.setattr(Store, "walk", walk_and_roll_back)
    report = swept(shop, keep=1)
    rollback.join()
    assert report.versions == sorted(versions[-2:])
    assert "There is no published index version" in told[0]
    assert {record.version for record in history(deployment.store)} == set(versions[-2:])


def test_a_rollback_while_much_else_goes_finds_what_its_version_needs_or_no_version(
    shop: Shop, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = _versions(shop, server, 1)
    shop.set(MIN_SCORE=0.9)
    (batch,) = list_batches(shop.deployment.store)
    shop.work(batch)
    shop.publish()
    _versions(shop, server, 2)
    deployment, walk, told = shop.deployment, Store.walk, []

    def walk_and_roll_back(store: Store, folder: str) -> Iterator[FileInfo]:
        if folder == "batches" and not told:
            told.append(folder)
            with contextlib.suppress(NotFound):
                roll_back(deployment, first)
        return walk(store, folder)

    monkeypatch.setattr(Store, "walk", walk_and_roll_back)
    swept(shop, keep=1)
    now = current(deployment.store)
    assert told and now is not None
    made = verify(deployment.store, now).fingerprints["labels"]
    assert any(path.endswith(f"/labels/{made}.parquet") for path in files(shop, "batches"))


def test_leftovers_of_killed_processes_go_and_strange_files_stay(shop: Shop, server: FaultServer) -> None:
    take(shop, server, "spring", NAMES[:2])
    root = shop.folder / "store"
    leftovers = [
        "blobs/ab/.1.part",
        "batches/.2.part",
        "index/published/.3.part",
        "similar_products/.4.part",
        "scratch/work-x/index/vectors.npy",
    ]
    strange = ["blobs/ab/readme", "notes/mine.txt", "crops/ab/me.jpg", "batches/notes.txt"]
    for path in [*leftovers, *strange]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    swept(shop)
    assert not set(leftovers) & files(shop)
    assert not (root / "scratch" / "work-x").exists()
    assert set(strange) <= files(shop)


def test_without_a_usable_index_no_version_is_touched(shop: Shop, server: FaultServer) -> None:
    take(shop, server, "spring", NAMES[:2])
    take(shop, server, "spring", NAMES[:3])
    for file in (shop.folder / "store" / "index").glob("*/index.ann"):
        file.write_bytes(b"damaged")
    stored = files(shop, "index", "similar_products")
    report = swept(shop)
    assert "no version can be used" in report.left[-1]
    assert files(shop, "index", "similar_products") == stored


def test_a_picture_that_the_store_lost_is_fetched_again_by_retry(shop: Shop, server: FaultServer) -> None:
    take(shop, server, "spring", NAMES[:3])
    lost = sha_of(shop, "oak-chair")
    store = shop.deployment.store
    store.delete(blob_path(lost))
    for kind in ("detections", "vectors"):
        for path in list(files(shop, kind)):
            store.delete(path)
    shop.set(MIN_SCORE=0.9)
    (batch,) = list_batches(store)
    shop.work(batch)
    shop.publish()
    assert shop.states() == {"oak-chair": "not_a_picture: unreadable"}
    report = shop.retry()
    assert report["total"]["fetched"] == 1
    assert shop.states() == {}
    assert store.exists(blob_path(lost))


def test_a_picture_that_failed_is_no_reason_to_wait(shop: Shop, server: FaultServer) -> None:
    server.fail("/box.png", status(404))
    take(shop, server, "spring", ["box", "umbrella", "bootie"])
    take(shop, server, "spring", ["box", "umbrella"])
    report = swept(shop)
    assert report.left == []
    assert report.kinds["blobs"].files == 1


def test_a_catalog_that_broke_off_is_no_reason_to_wait(shop: Shop, server: FaultServer) -> None:
    take(shop, server, "spring", NAMES[:3])
    whole = "id,url\n" + "".join(f"{number},{random.Random(number).random()}.png\n" for number in range(20_000))
    catalog = shop.folder / "broken.csv.gz"
    catalog.write_bytes(gzip.compress(whole.encode()))
    batch = shop.register(str(catalog))
    (copy,) = shop.deployment.store.names(batch.path("source"))
    shop.deployment.store.write(batch.path(f"source/{copy}"), catalog.read_bytes()[:-20_000])
    with pytest.raises(RunFailed):
        shop.work(batch)
    assert swept(shop).left == []


def test_an_empty_store_has_no_garbage(shop: Shop) -> None:
    report = swept(shop)
    assert (report.kinds, report.left) == ({}, [])


@pytest.mark.parametrize(
    ("keep", "days", "told"),
    [
        (0, 1.0, "at least 1"),
        (1, -1.0, "from 0 to 36500"),
        (1, math.nan, "from 0 to 36500"),
        (1, math.inf, "from 0 to 36500"),
        (1, 1e6, "from 0 to 36500"),
    ],
)
def test_what_would_delete_too_much_is_refused(shop: Shop, keep: int, days: float, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        collect_garbage(shop.deployment, keep_versions=keep, older_than_days=days, dry_run=False)
