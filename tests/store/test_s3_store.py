"""What is peculiar to a store in a bucket: pages, pieces, what is remembered and for whom."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support import s3_server as faults
from support.s3_server import S3Server

from vetrina.errors import FileDamaged, StoreError, StoreUnavailable
from vetrina.store import Store
from vetrina.store import s3 as s3_module
from vetrina.tables import read_metadata, read_tables, table_schema, write_table


@pytest.fixture
def store(s3: S3Server) -> Store:
    return Store("s3://shop/p")


def test_listings_have_as_many_pages_as_it_takes(store: Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")  # where S3 has 1000
    client = s3.client
    paths = [f"p/many/{number:04d}" for number in range(23)]
    for path in paths:
        client.put_object(Bucket="shop", Key=path, Body=b"")
    assert len(store.names("many")) == 23
    assert sorted(f"p/{info.path}" for info in store.walk("")) == paths
    assert s3.count("GET", "list-type=2") == 6


def test_a_listing_is_never_stale(store: Store, s3: S3Server) -> None:
    assert store.names("a") == []
    s3.client.put_object(Bucket="shop", Key="p/a/by-another-process", Body=b"")
    assert store.names("a") == ["by-another-process"]
    s3.client.delete_object(Bucket="shop", Key="p/a/by-another-process")
    assert store.names("a") == []


def test_a_folder_that_a_console_made_is_no_file(store: Store, s3: S3Server) -> None:
    for key in ("p/a/", "p/a/sub/", "p/a/file"):
        s3.client.put_object(Bucket="shop", Key=key, Body=b"")
    assert store.names("a") == ["file", "sub"]
    assert [info.path for info in store.walk("a")] == ["a/file"]


def test_a_bucket_without_a_prefix_is_a_store_too(s3: S3Server) -> None:
    store = Store("s3://shop")
    store.write("a/b", b"1")
    assert s3.stored() == ["a/b"]
    assert (store.names(""), [info.path for info in store.walk("")]) == (["a"], ["a/b"])


def test_keys_may_hold_any_character(store: Store) -> None:
    for name in ("with blank", "ä+%&?#", "a=b;c"):
        store.write(f"x/{name}", name.encode())
        assert store.read(f"x/{name}").decode() == name
    assert store.names("x") == sorted(["with blank", "ä+%&?#", "a=b;c"])


def test_a_small_table_takes_one_request(store: Store, s3: S3Server) -> None:
    schema = table_schema(("id", pa.string(), False))
    write_table(store, "t", schema, [{"id": str(number)} for number in range(1000)], {"note": 7})
    s3.requests.clear()
    assert sum(table.num_rows for table in read_tables(store, "t", schema)) == 1000
    assert read_metadata(store, "t") == {"note": 7}
    assert s3.count() == 2


def test_of_a_large_table_only_what_is_wanted_is_read(
    store: Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "TAIL", 70_000)
    schema = table_schema(("vector", pa.list_(pa.float32(), 64), False))
    vectors = np.random.default_rng(1).normal(size=(5000, 64)).astype(np.float32)
    write_table(store, "t", schema, ({"vector": vector} for vector in vectors))
    s3.requests.clear()
    assert read_metadata(store, "t") == {}
    assert s3.count() == 1
    tables = pa.concat_tables(read_tables(store, "t", schema))
    assert np.array_equal(np.array(tables["vector"].to_pylist(), np.float32), vectors)
    assert s3.count() <= 5


def test_a_large_file_is_read_in_pieces(store: Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "TAIL", 1000)
    monkeypatch.setattr("vetrina.store.s3_reading.PIECE", 100_000)
    data = np.random.default_rng(1).bytes(1_000_000)
    store.write("f", data)
    s3.requests.clear()
    with store.open("f") as file:
        assert b"".join(iter(lambda: file.read(7_000), b"")) == data
        assert s3.count() == 11
        for place in (999_500, 0, 54_321, 998_990):
            assert file.seek(place) == place
            assert file.read(20) == data[place : place + 20]
        assert (file.seek(-5, 2), file.read(), file.read(1)) == (999_995, data[-5:], b"")


def test_a_file_replaced_while_it_is_read_is_not_mixed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "TAIL", 16)
    store.write("f", b"old" * 100)
    with store.open("f") as file:
        store.write("f", b"new" * 100)
        with pytest.raises(StoreError, match="replaced while it was read"):
            file.read(10)


def test_a_large_file_goes_and_comes_in_parts(
    store: Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(s3_module, "PART", 5 << 20)
    data = np.random.default_rng(1).bytes((12 << 20) + 7)
    with store.writing("large") as file:
        file.write_bytes(data)
    assert s3.count("PUT", "partNumber=") == 3
    copy = store.local_file("large", hashlib.sha256(data).hexdigest())
    assert copy.read_bytes() == data
    assert s3.count("GET", "/p/large") == 3


def test_what_never_changes_is_asked_for_once(store: Store, s3: S3Server) -> None:
    store.write("record", b"{}")
    for _ in range(3):
        assert Store("s3://shop/p").read_json("record", unchanging=True) == {}
    assert s3.count("GET", "record") == 1
    assert store.read("record") == b"{}"  # not so called, it is asked for
    assert s3.count("GET", "record") == 2
    # What this process itself replaces or deletes, it knows.
    store.write("record", b"[]")
    assert store.read_json("record", unchanging=True) == []
    store.delete("record")
    with pytest.raises(FileNotFoundError):
        store.read("record", unchanging=True)


def test_another_endpoint_is_another_store(store: Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("record", b"1")
    assert store.read("record", unchanging=True) == b"1"
    with S3Server() as other:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", other.url)
        there = Store("s3://shop/p")
        assert there.identity != store.identity
        with pytest.raises(FileNotFoundError):
            there.read("record", unchanging=True)
        assert other.count("GET") == 1


def test_a_profile_names_the_credentials(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text("[shopkeeper]\naws_access_key_id=KEEPER\naws_secret_access_key=x\n")
    (tmp_path / "config").write_text(f"[profile shopkeeper]\nendpoint_url={s3.url}\nregion=eu-central-1\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "shopkeeper")
    Store("s3://shop/p").write("a", b"1")
    signed = s3.requests[-1].headers["authorization"]
    assert "Credential=KEEPER/" in signed and "/eu-central-1/" in signed


def test_the_general_endpoint_variable_will_do(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    Store("s3://shop/p").write("a", b"1")
    assert s3.stored() == ["p/a"]


def test_a_forked_child_uses_the_store_as_its_parent_does(store: Store, s3: S3Server) -> None:
    store.write("a", b"by the parent")
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if store.read("a") == b"by the parent" and store.create("b", b"by the child") else 1)
        except BaseException:
            os._exit(2)
    until = time.monotonic() + 120
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)  # a child that stands still must not keep the tests from ending
            until += 120
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert store.read("b") == b"by the child"


def test_a_local_file_that_is_not_what_it_should_be_is_refused_and_not_kept(store: Store, tmp_path: Path) -> None:
    store.write("index", b"altered")
    with pytest.raises(FileDamaged, match="index"):
        store.local_file("index", "0" * 64)
    assert list((tmp_path / "cache" / "vetrina").iterdir()) == []
    with pytest.raises(FileNotFoundError):
        store.local_file("no/such", "0" * 64)


def test_a_download_that_breaks_off_leaves_no_copy(store: Store, s3: S3Server, tmp_path: Path) -> None:
    store.write("index", b"x" * 1000)
    s3.fail(faults.answer(403, "AccessDenied"), method="GET")
    with pytest.raises(StoreUnavailable):
        store.local_file("index", "0" * 64)
    assert list((tmp_path / "cache" / "vetrina").iterdir()) == []


def test_a_store_in_a_folder_does_without_the_libraries_of_s3(tmp_path: Path) -> None:
    code = (
        "import sys; from vetrina.store import Store; Store(sys.argv[1]).write('a', b'1'); "
        "assert not {'s3fs', 'botocore', 'aiobotocore', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
