"""A stamp changes when its file is replaced, and not otherwise, on a disk and on an S3 server."""

from pathlib import Path

import pytest

from vetrina.store import Store


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(tmp_path)
    request.getfixturevalue("s3")
    return Store("s3://shop/store")


def test_a_stamp_changes_with_the_content_and_only_then(store: Store) -> None:
    paths = ["batches/a/catalog.json", "batches/b/catalog.json", "batches/b/embeddings/x.parquet"]
    assert store.stamps("batches", paths) == [None, None, None]
    store.write(paths[0], b"one")
    store.write(paths[2], b"two")
    first = store.stamps("batches", paths)
    assert [stamp is None for stamp in first] == [False, True, False]
    assert store.stamps("batches", paths) == first
    store.write(paths[2], b"TWO")  # as long as before
    second = store.stamps("batches", paths)
    assert (second[:2], second[2] != first[2]) == (first[:2], True)
    store.delete(paths[0])
    assert store.stamps("batches", paths) == [None, None, second[2]]
