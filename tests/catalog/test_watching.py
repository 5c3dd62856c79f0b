"""The watched folder without Dagster: what is whole, what is new, and what a crash may not do."""

import json
import os
import zlib
from pathlib import Path

import pytest
from support.watched_folder import NOISE, OTHER, ROWS, Folder

from vetrina.catalog.source_files import ReadOptions
from vetrina.catalog.watching import Known, Listed, Look, WatchReport, list_folder, look, take_large
from vetrina.errors import CatalogError, StoreError


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


def test_a_name_with_spaces_and_accents_is_a_name(folder: Folder) -> None:
    folder.put("Copie\u00a0de l'été.csv", ROWS)
    assert [batch.catalog for batch in folder.settled().registered] == ["Copie\u00a0de l'été"]


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


def test_a_file_whose_reading_takes_too_long_for_a_visit_counts_as_large(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put("slow.csv", b"id,image_url\n" + NOISE)
    folder.visit()
    clock = iter(range(0, 10_000_000, 1000))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    report = folder.visit(budget=5000)
    assert [entry.name for entry in report.large] == ["slow.csv"]
    assert folder.batches == []


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
