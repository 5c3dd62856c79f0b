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
