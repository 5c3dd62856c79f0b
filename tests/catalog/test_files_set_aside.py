"""Files of the watched folder that are set aside: why, whom it blocks (nobody), and until when."""

import gzip
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.watched_folder import NOISE, ROWS, Folder

from vetrina.catalog.problems import list_set_aside, set_aside
from vetrina.catalog.source_files import ReadOptions
from vetrina.catalog.watching import WatchReport, take_large

_NOBODY = 65534


def _parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": ["1", "2"], "image_url": ["https://pics.example/1.jpg"] * 2}), sink)
    return sink.getvalue().to_pybytes()


BAD = {
    "zero.csv": (b"", "empty"),
    "sheet.xlsx": (b"PK\x03\x04 and so on", "Excel"),
    "unknown.dat": (b"\x00\x01\x02\x03" * 20, "format is not known"),
    "page.csv.html": (b"<!DOCTYPE html><html><body>Log in</body></html>", "HTML"),
    "lost-id.csv": (b"colour,image_url\nred,a.png\n", "no id column"),
    "cut.csv": (b"id,image_url,name\n1,a.jpg,One\n2,b.j", "ends within line 3"),
    "cut-in-quotes.csv": (b'id,image_url,name\n1,a.jpg,One\n2,b.jpg,"Two and', "ends within line 3"),
    "cut.csv.gz": (gzip.compress(b"id,image_url\n" + NOISE)[:-2000], "is cut"),
    "cut.json": (b'[{"id": "1", "image_url": "a.jpg"}, {"id": "2", ', "cut"),
    "cut.ndjson": (b'{"id": "1", "image_url": "a.jpg"}\n{"id": "2", "ima', "ends within line 2"),
    "cut.parquet": (_parquet()[:-7], "cut"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_set_aside_with_its_reason_and_blocks_nobody(folder: Folder, name: str) -> None:
    content, says = BAD[name]
    folder.put(name, content)
    folder.put("good.csv", ROWS)
    report = folder.settled()
    assert [batch.catalog for batch in report.registered] == ["good"]
    ((source, reason),) = report.aside
    assert source == str(folder.path / name)
    assert says in reason
    assert name in reason
    assert folder.aside == {name: reason}
    # It is neither read again nor forgotten.
    assert folder.visit() == WatchReport()
    assert folder.aside == {name: reason}
    assert len(folder.batches) == 1


def test_a_folder_named_like_a_catalog_is_set_aside(folder: Folder) -> None:
    (folder.path / "spring.csv").mkdir()
    (folder.path / "pictures").mkdir()
    folder.settled()
    assert set(folder.aside) == {"spring.csv"}
    assert "folder" in folder.aside["spring.csv"]


@contextmanager
def _as_nobody() -> Iterator[Path]:
    """An ordinary user, since root may read everything, and a folder of theirs."""
    with tempfile.TemporaryDirectory() as home:
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(home, _NOBODY, -1)
            os.seteuid(_NOBODY)
        try:
            yield Path(home)
        finally:
            if is_root:
                os.seteuid(0)


def test_a_file_that_may_not_be_read_is_set_aside_until_it_may() -> None:
    with _as_nobody() as home:
        folder = Folder(home)
        file = folder.put("spring.csv", ROWS)
        file.chmod(0)
        folder.settled()
        assert "permissions" in folder.aside["spring.csv"]
        file.chmod(0o644)
        folder.settled()
        assert (folder.aside, len(folder.batches)) == ({}, 1)


@pytest.mark.parametrize("target", ["nowhere.dat", "spring.csv"], ids=["to nowhere", "to itself"])
def test_a_link_that_leads_nowhere_is_set_aside_and_stops_nobody(folder: Folder, target: str) -> None:
    (folder.path / "spring.csv").symlink_to(target)
    folder.put("good.csv", ROWS)
    assert len(folder.settled().registered) == 1
    assert "no catalog at" in folder.aside["spring.csv"]


def test_a_pipe_in_the_folder_stops_nobody(folder: Folder) -> None:
    os.mkfifo(folder.path / "stream.csv")
    folder.put("good.csv", ROWS)
    assert len(folder.settled().registered) == 1
    assert "ordinary file" in folder.aside["stream.csv"]


@pytest.mark.parametrize("kind", ["file", "folder", "large file"])
def test_a_name_that_is_no_text_is_set_aside_under_a_readable_one(folder: Folder, kind: str) -> None:
    path = Path(os.fsdecode(os.fsencode(folder.path) + b"/fr\xfchling.csv"))
    if kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(ROWS)
    folder.put("good.csv", ROWS)
    folder.visit()
    report = folder.visit(large=1 if kind == "large file" else 1 << 30)
    ((_, reason),) = report.aside
    assert "rename it" in reason
    (problem,) = list_set_aside(folder.store)
    assert (problem.source + reason).isprintable()
    path.rmdir() if kind == "folder" else path.unlink()
    folder.visit()
    assert folder.aside == {}


@pytest.mark.parametrize("how", ["mended", "removed"])
def test_what_was_set_aside_is_forgotten_when_it_is_mended_or_goes(folder: Folder, how: str) -> None:
    file = folder.put("spring.csv", b"")
    folder.settled()
    assert folder.aside
    if how == "mended":
        file.write_bytes(ROWS)
    else:
        file.unlink()
    folder.settled()
    assert folder.aside == {}
    assert len(folder.batches) == (how == "mended")


def test_a_problem_keeps_its_date_while_it_stays_the_same(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder.put("spring.csv", b"")
    folder.settled()
    (before,) = list_set_aside(folder.store)
    os.utime(file, (time.time() + 9, time.time() + 9))
    folder.settled()
    assert list_set_aside(folder.store) == [before]


def test_what_was_set_aside_in_a_folder_that_is_watched_no_more_is_forgotten(folder: Folder) -> None:
    folder.put("spring.csv", b"")
    folder.settled()
    folder.path = folder.path.parent / "elsewhere"
    folder.path.mkdir()
    folder.visit()
    assert folder.aside == {}


def test_what_was_wrong_with_a_large_file_is_forgotten_when_it_goes(folder: Folder) -> None:
    file = folder.put("big.csv", ROWS)
    folder.visit(large=60)
    folder.visit(large=60)
    set_aside(folder.store, str(file), "watch", "its run failed")
    file.unlink()
    folder.visit(large=60)
    assert folder.aside == {}


def test_a_large_file_that_is_bad_is_set_aside_by_the_job(folder: Folder) -> None:
    folder.put("big.csv", b"colour,image_url\nred,a.png\n")
    folder.visit(large=1)
    folder.visit(large=1)
    report = take_large(folder.store, str(folder.path), "big.csv", ReadOptions())
    assert len(report.aside) == 1
    assert folder.visit(large=1) == WatchReport()
    assert "no id column" in folder.aside["big.csv"]


@pytest.mark.parametrize("large", [1, 1 << 30], ids=["large", "small"])
def test_a_file_set_aside_for_its_columns_is_taken_once_the_settings_name_them(folder: Folder, large: int) -> None:
    folder.put("spring.csv", b"artikel,image_url\nA,https://pics.example/1.jpg\n")

    def settled() -> None:
        for _ in range(2):
            for entry in folder.visit(large=large).large:
                take_large(folder.store, str(folder.path), entry.name, folder.options)
        assert folder.visit(large=large) == WatchReport()

    settled()
    assert "VETRINA_ID_COLUMNS" in folder.aside["spring.csv"]
    folder.options = ReadOptions(id_columns=("artikel",))
    settled()
    assert (folder.aside, len(folder.batches)) == ({}, 1)
    folder.options = ReadOptions()  # what was taken stays so
    settled()
    assert (folder.aside, len(folder.batches)) == ({}, 1)
