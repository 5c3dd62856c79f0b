import hashlib
from pathlib import Path

import pytest

from vetrina.errors import StoreError
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
    found = PrintsInMemory(store)(pictures)
    assert found.known.all()
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
    first = in_memory(pictures)
    monkeypatch.setattr(Store, "read", lambda *_, **__: pytest.fail("read again"))
    again = in_memory([pictures[2], pictures[0], pictures[2]])
    assert again.known.all()
    assert again.hashes.tolist() == [first.hashes[2], first.hashes[0], first.hashes[2]]
