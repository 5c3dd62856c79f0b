"""The watched folder without Dagster: what is whole, what is new, what is set aside, and what a crash may not do."""

import gzip
import json
import os
import random
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vetrina.catalog.batches import Batch, list_batches
from vetrina.catalog.problems import list_set_aside, set_aside
from vetrina.catalog.source_files import ReadOptions
from vetrina.catalog.watching import Known, Listed, Look, WatchReport, list_folder, look, take_large, watch
from vetrina.errors import CatalogError, StoreError
from vetrina.store import Store

ROWS = b"id,image_url\n1,https://pics.example/1.jpg\n2,https://pics.example/2.jpg\n"
_NOBODY = 65534
OTHER = b"id,image_url\n1,https://pics.example/other.jpg\n"


class Folder:
    """A watched folder beside a store; `visit` is one tick, each a minute after the one before."""

    def __init__(self, home: Path) -> None:
        self.path = home / "in"
        self.path.mkdir()
        self.store = Store(home / "store")
        self.options = ReadOptions()
        self.now = 1_000_000.0

    def put(self, name: str, content: bytes) -> Path:
        file = self.path / name
        file.write_bytes(content)
        return file

    def visit(self, *, budget: float = 60, settle: float = 5, seconds: float = 60, large: int = 1 << 30) -> WatchReport:
        self.now += seconds
        return watch(
            self.store,
            str(self.path),
            self.options,
            settle=settle,
            budget=budget,
            large_bytes=large,
            clock=lambda: self.now,
        )

    def settled(self) -> WatchReport:
        """Two visits: the first sees the files, the second finds them unchanged."""
        self.visit()
        return self.visit()

    @property
    def batches(self) -> list[Batch]:
        return list_batches(self.store)

    @property
    def aside(self) -> dict[str, str]:
        return {Path(problem.source).name: problem.reason for problem in list_set_aside(self.store)}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def _listed(name: str, mark: str = "1", modified: float = 0.0, *, is_folder: bool = False) -> Listed:
    return Listed(name, mark, modified, 10, is_folder)


def _ready(seen: Look) -> list[str]:
    return [entry.name for entry in seen.ready]


# ---- The judgement


def test_a_file_is_ready_once_it_has_stayed_the_same_for_the_time_to_settle() -> None:
    first = look([_listed("a.csv")], {}, now=100, settle=5)
    assert (_ready(first), first.waiting) == ([], ["a.csv"])
    assert _ready(look([_listed("a.csv")], first.known, now=104, settle=5)) == []
    assert _ready(look([_listed("a.csv")], first.known, now=105, settle=5)) == ["a.csv"]


def test_a_file_that_still_grows_waits_anew_with_every_change() -> None:
    known = look([_listed("a.csv", "1")], {}, now=100, settle=5).known
    for now in range(106, 160, 6):
        seen = look([_listed("a.csv", str(now))], known, now=now, settle=5)
        assert _ready(seen) == []
        known = seen.known
    assert _ready(look([_listed("a.csv", "154")], known, now=160, settle=5)) == ["a.csv"]


def test_a_clock_that_was_set_back_keeps_no_file_waiting_for_ever() -> None:
    known = look([_listed("a.csv")], {}, now=10_000, settle=5).known
    known = look([_listed("a.csv")], known, now=100, settle=5).known
    assert _ready(look([_listed("a.csv")], known, now=105, settle=5)) == ["a.csv"]


@pytest.mark.parametrize("stage", ["taken", "aside", "large"])
def test_what_was_dealt_with_is_ready_again_only_when_it_changes(stage: str) -> None:
    known = {"a.csv": Known("1", 0, stage)}  # type: ignore[arg-type]
    assert _ready(look([_listed("a.csv", "1")], known, now=100, settle=5)) == []
    changed = look([_listed("a.csv", "2")], known, now=100, settle=5)
    assert changed.waiting == ["a.csv"]
    assert _ready(look([_listed("a.csv", "2")], changed.known, now=105, settle=5)) == ["a.csv"]


def test_the_earliest_file_comes_first() -> None:
    listing = [_listed("c.csv", modified=3), _listed("b.csv", modified=1), _listed("a.csv", modified=3)]
    assert _ready(look(listing, {}, now=100, settle=0)) == ["b.csv", "a.csv", "c.csv"]


@pytest.mark.parametrize(
    "name",
    [".a.csv", ".a.csv.Xy12", "a.csv.part", "a.csv.PART", "a.csv.tmp", "a.csv.filepart", "a.csv~", "~$a.csv"],
)
def test_names_of_unfinished_files_are_passed_over(name: str) -> None:
    assert look([_listed(name)], {}, now=100, settle=0).known == {}


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.webp", "notes.pdf", "a.csv.md5"])
def test_pictures_and_what_else_lies_beside_catalogs_are_passed_over(name: str) -> None:
    assert look([_listed(name)], {}, now=100, settle=0).known == {}


def test_a_folder_is_looked_at_only_when_it_is_named_like_a_catalog() -> None:
    listing = [_listed("pictures", is_folder=True), _listed("spring.csv", is_folder=True)]
    assert _ready(look(listing, {}, now=100, settle=0)) == ["spring.csv"]


def test_a_file_that_went_is_forgotten() -> None:
    seen = look([], {"a.csv": Known("1", 0, "taken")}, now=100, settle=5)
    assert (seen.gone, seen.known) == (["a.csv"], {})


# ---- The folder


def test_each_new_file_becomes_one_batch_that_a_sensor_is_to_work(folder: Folder) -> None:
    folder.put("spring.csv", ROWS)
    folder.put("summer.csv", OTHER)
    assert folder.visit().waiting == 2
    assert [batch.catalog for batch in folder.visit().registered] == ["spring", "summer"]
    assert {(batch.origin, batch.mode) for batch in folder.batches} == {("watch", "delta")}
    for _ in range(3):
        assert folder.visit() == WatchReport()
    assert len(folder.batches) == 2


def test_the_same_file_again_is_no_batch_and_other_content_under_its_name_is(folder: Folder) -> None:
    for content, count, repeated in [(ROWS, 1, 0), (ROWS, 1, 1), (OTHER, 2, 0), (ROWS, 3, 0)]:
        folder.put("spring.csv", content)
        assert folder.settled().repeated == repeated
        assert len(folder.batches) == count
    assert len({batch.key for batch in folder.batches}) == 3


def test_same_size_and_same_age_do_not_hide_other_content(folder: Folder) -> None:
    file = folder.put("spring.csv", ROWS)
    folder.settled()
    before = file.stat()
    file.write_bytes(ROWS.replace(b"2.jpg", b"3.jpg"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    folder.settled()
    assert len(folder.batches) == 2


def test_a_file_that_is_removed_or_comes_back_as_it_was_changes_nothing(folder: Folder) -> None:
    folder.put("spring.csv", ROWS)
    folder.settled()
    (folder.path / "spring.csv").unlink()
    folder.settled()
    folder.put("spring.csv", ROWS)
    folder.settled()
    assert len(folder.batches) == 1


def test_two_files_of_one_catalogs_name_do_not_undo_each_other_when_what_was_known_is_lost(folder: Folder) -> None:
    folder.put("spring.csv", ROWS)
    folder.settled()
    folder.put("spring.txt", OTHER)
    folder.settled()
    assert [batch.catalog for batch in folder.batches] == ["spring", "spring"]
    for name in folder.store.names("intake/watched"):
        folder.store.delete(f"intake/watched/{name}")
    assert folder.settled().repeated == 2
    assert len(folder.batches) == 2


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("after", range(4))
def test_a_visit_killed_after_any_batch_loses_and_doubles_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    for number in range(4):
        folder.put(f"{number}.csv", ROWS + b"%d,https://pics.example/a.jpg\n" % (number + 10))
    folder.visit()

    def die(*_: object) -> None:
        if len(folder.batches) > after:
            raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr("vetrina.catalog.watching.mended", die)  # what follows a registration
        patch.setattr("vetrina.catalog.watching._write_known", die)
        with pytest.raises(_Killed):
            folder.visit()
    assert len(folder.batches) == after + 1
    folder.settled()
    assert sorted(batch.catalog for batch in folder.batches) == ["0", "1", "2", "3"]


def test_a_visit_without_time_leaves_the_rest_to_the_next_and_loses_none(folder: Folder) -> None:
    for number in range(5):
        file = folder.put(f"{number}.csv", b"id,image_url\n%d,https://pics.example/a.jpg\n" % number)
        os.utime(file, (1000 - number, 1000 - number))
    folder.visit()
    lefts = [folder.visit(budget=-1).left]
    assert folder.batches == []
    while lefts[-1]:
        lefts.append(folder.visit(budget=60).left)
    assert lefts == [5, 0]
    assert [batch.catalog for batch in folder.batches] == ["4", "3", "2", "1", "0"]


def _parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": ["1", "2"], "image_url": ["https://pics.example/1.jpg"] * 2}), sink)
    return sink.getvalue().to_pybytes()


_NOISE = b"".join(b"%d,https://pics.example/%x.jpg\n" % (n, random.Random(n).getrandbits(200)) for n in range(3000))

BAD = {
    "zero.csv": (b"", "empty"),
    "sheet.xlsx": (b"PK\x03\x04 and so on", "Excel"),
    "unknown.dat": (b"\x00\x01\x02\x03" * 20, "format is not known"),
    "page.csv.html": (b"<!DOCTYPE html><html><body>Log in</body></html>", "HTML"),
    "lost-id.csv": (b"colour,image_url\nred,a.png\n", "no id column"),
    "cut.csv": (b"id,image_url,name\n1,a.jpg,One\n2,b.j", "ends within line 3"),
    "cut-in-quotes.csv": (b'id,image_url,name\n1,a.jpg,One\n2,b.jpg,"Two and', "ends within line 3"),
    "cut.csv.gz": (gzip.compress(b"id,image_url\n" + _NOISE)[:-2000], "is cut"),
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


def test_a_name_with_spaces_and_accents_is_a_name(folder: Folder) -> None:
    folder.put("Copie\u00a0de l'été.csv", ROWS)
    assert [batch.catalog for batch in folder.settled().registered] == ["Copie\u00a0de l'été"]


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


def test_a_large_file_is_left_to_a_job_which_takes_it_once(folder: Folder) -> None:
    folder.put("big.csv", ROWS)
    folder.put("small.csv", OTHER)
    folder.visit(large=60)
    for _ in range(2):  # asked for until the job has left word
        assert [entry.name for entry in folder.visit(large=60).large] == ["big.csv"]
    assert [batch.catalog for batch in folder.batches] == ["small"]
    take_large(folder.store, str(folder.path), "big.csv", ReadOptions())
    assert [batch.catalog for batch in folder.batches] == ["small", "big"]
    assert folder.visit(large=60) == WatchReport()
    folder.put("big.csv", ROWS + b"3,https://pics.example/3.jpg\n")
    folder.visit(large=60)
    assert [entry.name for entry in folder.visit(large=60).large] == ["big.csv"]


def test_what_was_wrong_with_a_large_file_is_forgotten_when_it_goes(folder: Folder) -> None:
    file = folder.put("big.csv", ROWS)
    folder.visit(large=60)
    folder.visit(large=60)
    set_aside(folder.store, str(file), "watch", "its run failed")
    file.unlink()
    folder.visit(large=60)
    assert folder.aside == {}


def test_a_file_whose_reading_takes_too_long_for_a_visit_counts_as_large(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put("slow.csv", b"id,image_url\n" + _NOISE)
    folder.visit()
    clock = iter(range(0, 10_000_000, 1000))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    report = folder.visit(budget=5000)
    assert [entry.name for entry in report.large] == ["slow.csv"]
    assert folder.batches == []


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


def test_what_a_former_version_remembered_makes_no_doubles_and_is_read_anew_where_it_was_set_aside(
    folder: Folder,
) -> None:
    folder.put("spring.csv", ROWS)
    folder.put("bad.csv", b"artikel,image_url\nA,https://pics.example/1.jpg\n")
    folder.settled()
    (name,) = folder.store.names("intake/watched")
    path = f"intake/watched/{name}"
    known = json.loads(zlib.decompress(folder.store.read(path)))
    folder.store.write(path, zlib.compress(json.dumps({file: value[:3] for file, value in known.items()}).encode()))
    folder.options = ReadOptions(id_columns=("artikel", "id"))
    folder.visit()
    assert folder.aside == {}
    assert sorted(batch.catalog for batch in folder.batches) == ["bad", "spring"]


def test_a_folder_that_is_missing_or_no_folder_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name, says in [("missing", "make it, or correct VETRINA_WATCH"), ("file", "cannot be read: Not a directory")]:
        with pytest.raises(CatalogError, match=says):
            list_folder(str(tmp_path / name))
    with pytest.raises(CatalogError, match="only a local folder or an s3:// prefix"):
        list_folder("ftp://host/in")


def test_a_damaged_memory_is_named_and_says_that_it_may_be_deleted(folder: Folder) -> None:
    folder.put("spring.csv", ROWS)
    folder.settled()
    (name,) = folder.store.names("intake/watched")
    folder.store.write(f"intake/watched/{name}", b"torn")
    with pytest.raises(StoreError, match=name):
        folder.visit()
