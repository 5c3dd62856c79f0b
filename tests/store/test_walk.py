"""Walking a store: every file with its size and its time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from vetrina.store import FileInfo, Store


def test_every_file_under_a_folder_is_met_with_its_size_and_time(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    began = datetime.now(UTC) - timedelta(seconds=2)
    for path, data in {"a/b/one": b"1", "a/two": b"22", "c/three": b"333"}.items():
        store.write(path, data)
    found = {info.path: info for info in store.walk("a")}
    assert {path: info.bytes for path, info in found.items()} == {"a/b/one": 1, "a/two": 2}
    assert all(isinstance(info, FileInfo) and began <= info.modified <= datetime.now(UTC) for info in found.values())
    assert {info.path for info in store.walk("")} == {"a/b/one", "a/two", "c/three"}


def test_a_folder_that_is_not_there_holds_no_files(tmp_path: Path) -> None:
    assert list(Store(tmp_path / "store").walk("nowhere")) == []


def test_files_deleted_during_a_walk_do_not_end_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for number in range(20):
        store.write(f"a/{number}/file", b"x")
    met = 0
    for info in store.walk("a"):
        store.delete(info.path)
        met += 1
    assert met == 20
    assert list(store.walk("a")) == []
