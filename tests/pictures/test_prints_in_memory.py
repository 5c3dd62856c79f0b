import hashlib
from pathlib import Path

import pytest

from vetrina.errors import StoreError, StoreUnavailable
from vetrina.pictures.prints import PrintsInMemory, prints_of
from vetrina.store import Store, blob_path


def test_a_store_that_can_only_be_read_is_searched_all_the_same(
    tmp_path: Path, product_pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "store"))
    pictures = []
    for name in ("box", "bootie"):
        sha256 = hashlib.sha256(product_pictures[name]).hexdigest()
        store.write(blob_path(sha256), product_pictures[name])
        pictures.append(sha256)

    def refuse(self: Store, path: str, data: bytes, **_: object) -> None:
        raise StoreError(f"{path} cannot be written")

    monkeypatch.setattr(Store, "write", refuse)
    with pytest.raises(StoreError, match="cannot be written"):
        prints_of(store, pictures)
    found, whole = PrintsInMemory(store)(pictures)
    assert whole and found.known.all()
    monkeypatch.undo()
    kept, _ = prints_of(store, pictures)
    assert (found.hashes == kept.hashes).all()
    assert (found.cells == kept.cells).all()


def test_prints_are_read_once_and_in_the_order_asked_for(
    tmp_path: Path, product_pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "store"))
    pictures = [hashlib.sha256(product_pictures[name]).hexdigest() for name in ("box", "bootie", "umbrella")]
    for sha256, name in zip(pictures, ("box", "bootie", "umbrella"), strict=True):
        store.write(blob_path(sha256), product_pictures[name])
    in_memory = PrintsInMemory(store)
    first, _ = in_memory(pictures)
    monkeypatch.setattr(Store, "read", lambda *_, **__: pytest.fail("read again"))
    again, _ = in_memory([pictures[2], pictures[0], pictures[2]])
    assert again.known.all()
    assert again.hashes.tolist() == [first.hashes[2], first.hashes[0], first.hashes[2]]


@pytest.mark.parametrize("how", ["away", "in trouble"])
def test_prints_that_cannot_be_read_now_are_unknown_now_and_read_the_next_time(
    tmp_path: Path, product_pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    store = Store(str(tmp_path / "store"))
    files = {"box": product_pictures["box"], "bootie": product_pictures["bootie"], "damaged": b"damaged"}
    box, bootie, damaged = (hashlib.sha256(data).hexdigest() for data in files.values())
    for data in files.values():
        store.write(blob_path(hashlib.sha256(data).hexdigest()), data)
    in_memory = PrintsInMemory(store)
    assert in_memory([box, damaged])[0].known.tolist() == [True, False]

    def fail(self: Store, path: str, **_: object) -> bytes:
        raise StoreUnavailable("The store cannot be reached")

    if how == "away":
        (tmp_path / "store").rename(tmp_path / "elsewhere")
    else:
        monkeypatch.setattr(Store, "read", fail)
    prints, whole = in_memory([bootie, box, damaged])
    assert (prints.known.tolist(), whole) == ([False, True, False], False)
    if how == "away":
        (tmp_path / "elsewhere").rename(tmp_path / "store")
    monkeypatch.undo()
    monkeypatch.setattr("vetrina.pictures.prints.time.monotonic", lambda: 1e9)
    prints, whole = in_memory([bootie, box, damaged])
    assert (prints.known.tolist(), whole) == ([True, True, False], True)


def test_a_store_that_failed_is_asked_by_one_after_a_while_and_the_others_do_not_wait(
    tmp_path: Path, product_pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    now, asked = [1000.0], []
    monkeypatch.setattr("vetrina.pictures.prints.time.monotonic", lambda: now[0])
    store = Store(str(tmp_path / "store"))
    box = hashlib.sha256(product_pictures["box"]).hexdigest()
    store.write(blob_path(box), product_pictures["box"])
    in_memory = PrintsInMemory(store)

    def fail(self: Store, path: str, **_: object) -> bytes:
        asked.append(path)
        if len(asked) == 2:  # while it is found out
            assert not in_memory([box])[1]
        raise StoreUnavailable("The store cannot be reached")

    with monkeypatch.context() as failing:
        failing.setattr(Store, "read", fail)
        for seconds, so_far in ((0, 1), (59, 1), (1, 2), (59, 2), (1, 3)):
            now[0] += seconds
            assert not in_memory([box])[1]
            assert len(asked) == so_far
    assert not in_memory([box])[1]
    now[0] += 60
    assert in_memory([box])[1]
