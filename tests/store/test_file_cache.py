"""Local copies: bounded, private, never changed in place."""

import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vetrina.errors import StoreError
from vetrina.store.cache import IN_USE, FileCache, file_cache


def filled(size: int) -> Callable[[Path], None]:
    return lambda file: file.write_bytes(b"x" * size) and None


def forbidden(file: Path) -> None:
    raise AssertionError("downloaded again")


def aged(file: Path, seconds: float) -> None:
    os.utime(file, (time.time() - seconds,) * 2)


def test_a_copy_is_made_once(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache")
    assert cache.get("a" * 64, filled(3)).read_bytes() == b"xxx"
    assert cache.get("a" * 64, forbidden).read_bytes() == b"xxx"


def test_what_was_not_used_for_longest_goes_first_and_what_is_in_use_stays(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", most_bytes=250)
    old, older, recent = (cache.get(name, filled(100)) for name in ("old", "older", "recent"))
    aged(old, IN_USE + 10)
    aged(older, IN_USE + 20)
    cache.get("new", filled(100))
    assert not older.exists() and not old.exists() and recent.exists()
    # All that is left is in use: the bound gives way.
    cache.get("newer", filled(100))
    assert {file.name for file in (tmp_path / "cache").iterdir()} == {"recent", "new", "newer"}


def test_using_a_copy_keeps_it(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", most_bytes=250)
    first, second = (cache.get(name, filled(100)) for name in ("first", "second"))
    for file in (first, second):
        aged(file, IN_USE + 10)
    cache.get("first", forbidden)
    cache.get("third", filled(100))
    assert first.exists() and not second.exists()


def test_who_has_mapped_a_copy_keeps_it_when_it_is_dropped(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", most_bytes=0)
    file = cache.get("mapped", filled(5000))
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        aged(file, IN_USE + 1)
        cache.get("other", filled(10))
        assert not file.exists()
        assert mapped[:] == b"x" * 5000


def test_what_a_killed_download_left_goes_after_a_day(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache")
    cache.get("a", filled(1))
    left, fresh = tmp_path / "cache" / ".left.part", tmp_path / "cache" / ".fresh.part"
    for file in (left, fresh):
        file.write_bytes(b"half")
    aged(left, 100_000)
    cache.get("b", filled(1))
    assert not left.exists() and fresh.exists()


def test_a_folder_that_others_can_write_into_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(StoreError, match=r"Others can write.*VETRINA_CACHE"):
        FileCache(folder).get("a", filled(1))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"cannot be made.*VETRINA_CACHE"):
        FileCache(tmp_path / "file" / "cache").get("a", filled(1))


def test_a_cache_is_the_users_own_unless_a_folder_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    file = file_cache("", 1).get("a", filled(1))
    assert file == tmp_path / "xdg" / "vetrina" / "a"
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file_cache(str(tmp_path / "set"), 0.5).get("a", filled(1)) == tmp_path / "set" / "a"
    assert file_cache("", 0.5).most_bytes == 1 << 29
