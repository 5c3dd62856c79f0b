"""Catalogs in buckets, against a real S3 server on loopback."""

from pathlib import Path

import pytest
from support import fault_server as faults
from support.fault_server import FaultServer
from support.s3_server import S3Server

from vetrina.catalog.batches import list_batches
from vetrina.catalog.buckets import fetch
from vetrina.catalog.problems import list_set_aside
from vetrina.catalog.source_files import ReadOptions
from vetrina.catalog.syncing import SyncOrder, sync_catalog
from vetrina.catalog.watching import WatchReport, list_folder, watch
from vetrina.errors import CatalogError, SourceUnreachable
from vetrina.store import Store

ROWS = b"id,image_url\n1,https://pics.example/1.jpg\n2,pics/2.jpg\n"


class Bucket:
    """The bucket `shop`, filled past the program under test."""

    def __init__(self, server: S3Server) -> None:
        self._client = server.client

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket="shop", Key=key, Body=content)

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket="shop", Key=key)


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return Bucket(s3)


def _visit(store: Store, root: str, settle: float = 0) -> WatchReport:
    return watch(store, root, ReadOptions(), settle=settle, budget=60, large_bytes=1 << 20)


def test_a_prefix_is_watched_like_a_folder(bucket: Bucket, tmp_path: Path) -> None:
    store, root = Store(tmp_path / "store"), "s3://shop/in/"
    assert _visit(store, root) == WatchReport()  # a prefix without files
    for key, content in {
        "in/": b"",
        "in/spring.csv": ROWS,
        "in/bad.csv": b"",
        "in/pics/2.jpg": b"\xff\xd8",
        "in/named-like-a.csv/x": b"x",
        "elsewhere.csv": ROWS,
    }.items():
        bucket.put(key, content)
    (batch,) = _visit(store, root).registered
    assert (batch.source, batch.base) == ("s3://shop/in/spring.csv", "s3://shop/in")
    aside = {problem.source: problem.reason for problem in list_set_aside(store)}
    assert set(aside) == {"s3://shop/in/bad.csv", "s3://shop/in/named-like-a.csv"}
    assert _visit(store, root) == WatchReport()

    bucket.put("in/spring.csv", ROWS + b"3,pics/3.jpg\n")
    bucket.delete("in/bad.csv")
    assert len(_visit(store, root).registered) == 1
    assert {problem.source for problem in list_set_aside(store)} == {"s3://shop/in/named-like-a.csv"}
    assert len(list_batches(store)) == 2


def test_an_object_waits_to_settle_like_a_file(bucket: Bucket, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    bucket.put("in/spring.csv", ROWS)
    for _ in range(2):
        assert _visit(store, "s3://shop/in", settle=600).waiting == 1
    assert list_batches(store) == []


def test_a_bucket_that_is_missing_is_said_in_one_line(bucket: Bucket) -> None:
    with pytest.raises(CatalogError, match=r"no bucket s3://no-such-bucket.*correct the address"):
        list_folder("s3://no-such-bucket/in")


def _answer(code: str, status: int) -> faults.Fault:
    body = f"<Error><Code>{code}</Code><Message>very-secret</Message></Error>".encode()
    return faults.Fault(lambda handler: handler.reply(status, body, {"Content-Type": "application/xml"}))


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("ExpiredToken", 400, "expired.*renew"),
        ("AccessDenied", 403, "refuses to list.*s3:ListBucket"),
        ("InvalidAccessKeyId", 403, "not accepted.*check AWS_ACCESS_KEY_ID"),
        ("SlowDown", 503, "SlowDown.*try later"),
    ],
)
def test_what_a_bucket_refuses_is_said_in_one_line_without_secrets_and_soon(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, code: str, status: int, says: str
) -> None:
    with FaultServer() as server:
        server.fail("/shop", _answer(code, status))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url(""))
        with pytest.raises(SourceUnreachable, match=says) as refused:
            list_folder("s3://shop/in")
        assert "\n" not in str(refused.value)
        assert "secret" not in str(refused.value)
        assert 1 <= len(server.requests) <= 4


def test_missing_credentials_are_said(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SourceUnreachable, match=r"no usable credentials.*AWS_PROFILE"):
        list_folder("s3://shop/in")


def test_a_file_that_cannot_be_fetched_now_is_tried_again_and_blocks_nobody(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    bucket.put("in/a.csv", ROWS)
    bucket.put("in/b.csv", ROWS)

    def refuse(source: str, file: Path) -> None:
        if source.endswith("a.csv"):
            raise SourceUnreachable(f"{source} cannot be read now")
        fetch(source, file)

    with monkeypatch.context() as patch:
        patch.setattr("vetrina.catalog.source_files.fetch", refuse)
        report = _visit(store, "s3://shop/in")
        assert ([batch.catalog for batch in report.registered], report.waiting) == (["b"], 1)
        assert [problem.source for problem in list_set_aside(store)] == ["s3://shop/in/a.csv"]
    assert [batch.catalog for batch in _visit(store, "s3://shop/in").registered] == ["a"]
    assert list_set_aside(store) == []


def test_an_object_is_synced_and_fetched_only_when_it_changed(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, order = Store(tmp_path / "store"), SyncOrder("s3://shop/exports/all.csv", ReadOptions())
    with pytest.raises(CatalogError, match="no catalog at"):
        sync_catalog(store, order)
    bucket.put("exports/all.csv", ROWS)
    first = sync_catalog(store, order).batch
    assert first is not None
    assert (first.catalog, first.mode, first.base) == ("all", "snapshot", "s3://shop/exports")
    with monkeypatch.context() as patch:
        patch.delattr("vetrina.catalog.source_files.fetch")  # it is not fetched
        assert "has not changed" in sync_catalog(store, order).skipped
    bucket.put("exports/all.csv", ROWS + b"3,pics/3.jpg\n")
    changed = sync_catalog(store, order).difference
    assert changed is not None
    assert (changed.new, changed.unchanged) == (1, 2)
