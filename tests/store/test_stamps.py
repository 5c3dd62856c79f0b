"""A stamp changes when its file is replaced, and not otherwise, on a disk and on an S3 server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from vetrina.store import Store


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == "folder":
        yield Store(tmp_path)
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("shop")
        yield Store("s3://shop/store")
        s3fs.S3FileSystem.clear_instance_cache()
    finally:
        server.stop()


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
