"""What every kind of store promises, kept by a folder and by a bucket alike."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vetrina.errors import StoreError
from vetrina.store import FileInfo, Store, sha256_of

Opened = Callable[[], Store]


@pytest.fixture(params=["folder", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens the same store again and again."""
    if request.param == "folder":
        return lambda: Store(tmp_path / "store")
    request.getfixturevalue("s3")
    return lambda: Store("s3://shop/deep/prefix/")


def test_what_is_written_is_read_back(opened: Opened) -> None:
    store = opened()
    for data in (b"content", b"", bytes(range(256)) * 10_000):
        store.write("a/b/file", data)
        assert opened().read("a/b/file") == data
        assert store.size("a/b/file") == len(data)
        with store.open("a/b/file") as file:
            assert file.read() == data
    store.write_json("j", {"é": 1})
    assert store.read_json("j") == {"é": 1}
    store.write("j", b"{")
    with pytest.raises(StoreError, match="not valid JSON"):
        store.read_json("j")


def test_what_is_not_there_is_a_file_not_found(opened: Opened) -> None:
    store = opened()
    for ask in (store.read, store.open, store.read_json):
        with pytest.raises(FileNotFoundError) as caught:
            ask("no/such")
        assert str(caught.value.filename).endswith("no/such")
    assert (store.size("no/such"), store.exists("no/such"), store.names("no"), list(store.walk("no"))) == (
        None,
        False,
        [],
        [],
    )
    store.delete("no/such")


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../b"])
def test_no_path_leads_out_of_the_store(opened: Opened, path: str) -> None:
    store = opened()
    for ask in (store.read, store.names, store.delete, store.size, store.open):
        with pytest.raises(StoreError, match="not a path inside"):
            ask(path)


def test_one_of_many_creators_wins_and_its_content_stands(opened: Opened) -> None:
    won: list[int] = []
    start = threading.Barrier(8)

    def create(number: int) -> None:
        store = opened()
        start.wait()
        if store.create("records/1", json.dumps(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = won
    assert opened().read_json("records/1") == winner


def test_names_are_those_directly_in_the_folder(opened: Opened) -> None:
    store = opened()
    for path in ("a/2", "a/1", "a/sub/deep/file", "ab/other", "a/.x.part"):
        store.write(path, b"x")
    assert store.names("a") == ["1", "2", "sub"]
    assert store.names("a/sub") == ["deep"]
    assert set(store.names("")) == {"a", "ab"}
    store.delete("a/1")
    store.write("a/3", b"x")
    assert store.names("a") == ["2", "3", "sub"]


def test_a_walk_meets_every_file(opened: Opened) -> None:
    store = opened()
    for path in ("a/2", "a/sub/deep/file", "ab/other"):
        store.write(path, path.encode())
    found = sorted(store.walk("a"), key=lambda info: info.path)
    assert [(info.path, info.bytes) for info in found] == [("a/2", 3), ("a/sub/deep/file", 15)]
    assert all(isinstance(info, FileInfo) and info.modified.utcoffset() is not None for info in found)
    assert {info.path for info in store.walk("")} == {"a/2", "a/sub/deep/file", "ab/other"}


def test_a_file_is_filled_aside_and_appears_whole_or_not_at_all(opened: Opened) -> None:
    store = opened()
    store.write("table", b"old")
    with pytest.raises(ZeroDivisionError), store.writing("table") as file:
        file.write_bytes(b"half")
        raise ZeroDivisionError
    assert store.read("table") == b"old"
    with store.writing("table") as file:
        file.write_bytes(b"new")
        assert store.read("table") == b"old"
    assert store.read("table") == b"new"
    assert store.names("") == ["table"]


def test_a_local_file_has_the_content(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    original = tmp_path / "original"
    original.write_bytes(b"mapped" * 1000)
    store.write("index", original.read_bytes())
    file = store.local_file("index", sha256_of(original))
    assert file.read_bytes() == original.read_bytes()


def test_things_are_done_to_each_in_order_and_the_first_error_ends_it(opened: Opened) -> None:
    store = opened()
    for number in range(50):
        store.write(f"n/{number}", str(number).encode())
    assert list(store.map(lambda number: int(store.read(f"n/{number}")), range(50))) == list(range(50))
    with pytest.raises(FileNotFoundError):
        list(store.map(lambda number: store.read(f"n/{number}"), [1, 99, 2]))


def test_what_is_written_behind_is_there_when_the_block_ends(opened: Opened) -> None:
    store = opened()
    with store.behind() as behind:
        for number in range(100):
            behind.do(lambda number=number: store.write(f"n/{number}", b"x"))  # type: ignore[misc]
    assert len(store.names("n")) == 100


def test_an_error_behind_comes_to_light(opened: Opened) -> None:
    store = opened()
    with pytest.raises(FileNotFoundError), store.behind() as behind:
        behind.do(lambda: store.read("no/such"))


def test_one_at_a_time_works_under_a_name(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vetrina.store.lease.POLL", 0.05)
    inside: list[int] = []
    most: list[int] = []
    waits: list[int] = []

    def work(number: int) -> None:
        with opened().exclusive("index", lambda: waits.append(number)):
            inside.append(number)
            most.append(len(inside))
            opened().write(f"done/{number}", b"x")
            inside.remove(number)

    with opened().exclusive("index"):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        with opened().exclusive("another name"):
            pass
        while len(waits) < 3:  # all of them have found it taken
            threading.Event().wait(0.01)
        assert most == []
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]
    assert sorted(waits) == [0, 1, 2]


def test_a_root_of_another_kind_is_refused() -> None:
    with pytest.raises(StoreError, match="folder or s3://"):
        Store("ftp://somewhere/else")
