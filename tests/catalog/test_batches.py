"""What makes a catalog a batch of its own: its content and how it is read, nothing else."""

import os
import time
from pathlib import Path

import pytest

from vetrina.catalog.batches import Batch, Mode, list_batches, register_batch, register_file
from vetrina.catalog.checking import TooLong
from vetrina.catalog.problems import list_set_aside
from vetrina.catalog.shop import catalogue_batch, shop_now
from vetrina.catalog.source_files import ReadOptions, SourceFile, open_source
from vetrina.catalog.syncing import SyncOrder, sync_catalog
from vetrina.catalog.watching import watch
from vetrina.errors import CatalogError
from vetrina.store import Store

OUTSIDE = ReadOptions(allow_outside=True)
RELATIVE = "id,image\na,../pics/a.jpg\nb,b.jpg\n"
ABSOLUTE = "id,image\na,https://pics.example/a.jpg\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def put(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def add(
    store: Store, source: Path | str, options: ReadOptions | None = None, mode: Mode = "delta"
) -> tuple[Batch, bool]:
    with open_source(str(source)) as found:
        batch, new = register_file(store, found, options or ReadOptions(), mode=mode)
    catalogue_batch(store, batch)
    return batch, new


def test_rows_that_a_setting_rejected_are_read_once_it_allows_them(store: Store, tmp_path: Path) -> None:
    file = put(tmp_path / "in" / "shop.csv", RELATIVE)
    first, _ = add(store, file)
    assert catalogue_batch(store, first).reasons == {"picture-outside": 1}
    second, new = add(store, file, OUTSIDE)
    assert (new, second.key, second.allow_outside) == (True, f"{first.key}-2", True)
    report = catalogue_batch(store, second)
    assert (report.accepted, report.unchanged, report.rejected) == (1, 1, 0)
    assert add(store, file, OUTSIDE) == (second, False)


def test_columns_that_were_corrected_are_read_anew(store: Store, tmp_path: Path) -> None:
    file = put(tmp_path / "shop.csv", "id,sku,image,photo\n1,A,old.jpg,new.jpg\n")
    add(store, file)
    _, new = add(store, file, ReadOptions(id_columns=("sku",), picture_columns=("photo",)))
    assert new
    assert set(shop_now(store)) == {"1", "A"}


def test_columns_that_the_catalog_lacks_are_refused_though_it_was_read_before(store: Store, tmp_path: Path) -> None:
    file = put(tmp_path / "shop.csv", ABSOLUTE)
    add(store, file)
    with pytest.raises(CatalogError, match="has no picture column"):
        add(store, file, ReadOptions(picture_columns=("photo",)))
    assert len(list_batches(store)) == 1


def test_a_catalog_that_was_moved_beside_its_pictures_is_read_anew(store: Store, tmp_path: Path) -> None:
    add(store, put(tmp_path / "inbox" / "shop.csv", RELATIVE), OUTSIDE)
    _, new = add(store, put(tmp_path / "shop" / "here" / "shop.csv", RELATIVE), OUTSIDE)
    assert new


def test_where_a_catalog_lies_and_how_it_might_be_read_is_nothing_where_it_makes_no_difference(
    store: Store, tmp_path: Path
) -> None:
    first, _ = add(store, put(tmp_path / "inbox" / "shop.csv", ABSOLUTE))
    for options in (ReadOptions(), OUTSIDE, ReadOptions(("id", "sku"), ("image", "photo"))):
        assert add(store, put(tmp_path / "archive" / "shop.csv", ABSOLUTE), options) == (first, False)
    assert add(store, put(tmp_path / "archive" / "shop.csv", ABSOLUTE), mode="snapshot")[1]


def test_a_folder_by_another_of_its_names_is_the_same_folder(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path / "in" / "shop.csv", RELATIVE).parent
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(folder)
    first, _ = add(store, folder / "shop.csv")
    monkeypatch.chdir(tmp_path / "out")
    for name in ("../in/shop.csv", f"{tmp_path}/link/shop.csv", f"{tmp_path}/out/../in/shop.csv"):
        assert add(store, name) == (first, False)
    monkeypatch.chdir(folder)
    assert add(store, "shop.csv") == (first, False)


def test_relative_pictures_of_an_address_are_read_anew_at_another_address(store: Store, tmp_path: Path) -> None:
    file = put(tmp_path / "catalog", "id,image\na,a.jpg\n")
    batches = [
        register_file(store, SourceFile(file, f"{base}/shop.csv", base, "shop.csv"), ReadOptions())
        for base in ("https://a.example/x", "https://a.example/x", "https://b.example/x", "s3://bucket/x")
    ]
    assert [new for _, new in batches] == [True, False, True, True]


def test_finding_out_whether_a_catalog_reads_otherwise_now_ends_in_time(store: Store, tmp_path: Path) -> None:
    file = put(tmp_path / "shop.csv", ABSOLUTE)
    add(store, file)
    with open_source(str(file)) as found, pytest.raises(TooLong):
        register_file(store, found, OUTSIDE, until=time.monotonic() - 1)


def test_a_sync_reads_a_source_anew_once_the_settings_allow_its_rows(store: Store, tmp_path: Path) -> None:
    file = put(tmp_path / "in" / "shop.csv", RELATIVE)
    assert sync_catalog(store, SyncOrder(str(file), ReadOptions())).batch is not None
    allowed = sync_catalog(store, SyncOrder(str(file), OUTSIDE))
    assert allowed.difference is not None
    assert (allowed.difference.new, allowed.skipped) == (1, "")
    assert allowed.batch is not None
    assert set(shop_now(store)) == {"a", "b"}
    assert "has not changed" in sync_catalog(store, SyncOrder(str(file), OUTSIDE)).skipped


# ---- Names that are no text


DAMAGED = os.fsdecode(b"caf\xe9")


def test_a_catalog_in_a_folder_whose_name_is_no_text_is_refused_in_one_sentence(store: Store, tmp_path: Path) -> None:
    file = put(tmp_path / DAMAGED / "shop.csv", ABSOLUTE)
    for take in (add, lambda store, file: sync_catalog(store, SyncOrder(str(file), ReadOptions()))):
        with pytest.raises(
            CatalogError, match=r"^shop.csv: its folder '.*/caf\\udce9' has a name that is no UTF-8; rename"
        ):
            take(store, file)
    assert list_batches(store) == []
    (problem,) = list_set_aside(store)
    assert "rename the folder, or move the catalog" in problem.reason


def test_a_sync_of_a_file_whose_name_is_no_text_is_refused_in_one_sentence(store: Store, tmp_path: Path) -> None:
    file = put(tmp_path / f"{DAMAGED}.csv", ABSOLUTE)
    with pytest.raises(CatalogError, match=r"^'caf\\udce9': the catalog's name has damaged .*; rename it$"):
        sync_catalog(store, SyncOrder(str(file), ReadOptions()))
    with pytest.raises(CatalogError, match="the file's name has damaged"):
        sync_catalog(store, SyncOrder(str(file), ReadOptions(), name="shop"))


def test_a_catalog_is_not_given_a_name_that_is_no_text(store: Store, tmp_path: Path) -> None:
    file = str(put(tmp_path / "shop.csv", ABSOLUTE))
    with pytest.raises(CatalogError, match="the catalog's name has damaged"):
        register_batch(store, file, name=DAMAGED)
    with pytest.raises(CatalogError, match="the catalog's name has damaged"):
        sync_catalog(store, SyncOrder(file, ReadOptions(), name=DAMAGED))
    assert list_batches(store) == []


def test_a_watched_file_that_is_touched_is_read_anew_once_the_settings_allow_its_rows(
    store: Store, tmp_path: Path
) -> None:
    file = put(tmp_path / "in" / "shop.csv", RELATIVE)
    registered = []
    for options in (ReadOptions(), OUTSIDE, OUTSIDE):
        os.utime(file)
        visits = [
            watch(store, str(file.parent), options, settle=0, budget=60, large_bytes=1 << 30, clock=lambda: 1e6)
            for _ in range(2)
        ]
        registered.append(sum(len(visit.registered) for visit in visits))
    assert registered == [1, 1, 0]


def test_a_catalog_whose_name_no_file_can_have_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(CatalogError, match=r"cannot be looked at \(File name too long\); check the path"),
        open_source(str(tmp_path / ("a" * 300))),
    ):
        pass
