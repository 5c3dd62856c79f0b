from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from index_samples import PLAIN, built, shop
from support.s3_server import S3Server

from vetrina.errors import IndexDamaged, NotFound
from vetrina.index import versions
from vetrina.index.manifest import Manifest, version_of
from vetrina.index.settings import IndexSettings
from vetrina.index.versions import Published, current, history, open_index, publish, rollback, verify
from vetrina.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def put(store: Store, tmp_path: Path, seed: int, note: str = "") -> Published:
    """Publish an index of its own."""
    folder = tmp_path / f"built-{seed}-{len(list(tmp_path.iterdir()))}"
    return publish(store, folder, built(shop(20, 4, seed=seed), folder), note)


def forget() -> None:
    """As a new process: nothing is verified yet."""
    versions._verified.clear()


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def test_an_empty_store_has_no_current_index(store: Store) -> None:
    assert current(store) is None and history(store) == []
    with pytest.raises(NotFound):
        rollback(store)


def test_a_published_index_is_current_and_opens(store: Store, tmp_path: Path) -> None:
    record = put(store, tmp_path, 1, note="first")
    assert record.number == 1 and record.note == "first"
    assert current(store) == record
    index = open_index(store, record)
    assert index.version == record.version and index.rows.products == 20
    assert verify(store, record).items == len(index.rows)


def test_publishing_the_same_content_again_adds_no_record(store: Store, tmp_path: Path) -> None:
    first = put(store, tmp_path, 1)
    assert put(store, tmp_path, 1) == first
    assert len(history(store)) == 1


def test_settings_and_fingerprints_are_part_of_the_version(tmp_path: Path) -> None:
    names = {
        version_of(built(shop(20, 4), tmp_path / "a")),
        version_of(built(shop(20, 4), tmp_path / "b", PLAIN, fingerprint="f2")),
        version_of(built(shop(20, 4), tmp_path / "c", IndexSettings(projection_dims=None, crop_penalty=0.1))),
    }
    assert len(names) == 3


def test_a_version_without_a_record_is_invisible(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = put(store, tmp_path, 1)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(versions, "_record", die)
        with pytest.raises(KeyboardInterrupt):
            put(store, tmp_path, 2)
    assert current(store) == first and len(store.names("index")) == 3
    second = put(store, tmp_path, 2)
    assert second.number == 2 and current(store) == second


def test_a_half_copied_version_is_completed_by_the_next_publish(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = built(shop(20, 4, seed=1), tmp_path / "x")
    version = version_of(manifest)
    store.write(f"index/{version}/vectors.npy", b"half")
    record = publish(store, tmp_path / "x", manifest)
    assert open_index(store, record).rows.products == 20


def test_a_folder_that_is_not_what_its_manifest_says_is_not_published(store: Store, tmp_path: Path) -> None:
    manifest = built(shop(20, 4), tmp_path / "x")
    flip(tmp_path / "x" / "index.ann")
    with pytest.raises(IndexDamaged, match=r"index\.ann"):
        publish(store, tmp_path / "x", manifest)
    assert store.names("index") == []


@pytest.mark.parametrize("name", ["vectors.npy", "items.parquet", "index.ann", "manifest.json"])
@pytest.mark.parametrize("how", ["missing", "truncated", "flipped"])
def test_a_damaged_newest_version_is_passed_over_and_reported(
    store: Store, tmp_path: Path, name: str, how: str
) -> None:
    first, second = put(store, tmp_path, 1), put(store, tmp_path, 2)
    file = tmp_path / "store" / "index" / second.version / name
    if how == "missing":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[:-28])
    else:
        flip(file)
        forget()
    problems: list[str] = []
    assert current(store, problems) == first
    assert len(problems) == 1 and name in problems[0] and "number 2" in problems[0]
    with pytest.raises(IndexDamaged, match=name):
        open_index(store, second)


def test_an_unreadable_record_is_passed_over_and_reported(store: Store, tmp_path: Path) -> None:
    first = put(store, tmp_path, 1)
    store.write("index/published/000000002.json", b"{")
    store.write("index/published/000000003.json", json.dumps({"number": 3}).encode())
    store.write("index/published/notes.txt", b"?")
    problems: list[str] = []
    assert current(store, problems) == first and len(problems) == 2
    assert put(store, tmp_path, 2).number == 4
    assert [record.number for record in history(store)] == [4, 1]


def test_publishing_a_damaged_version_again_repairs_it(store: Store, tmp_path: Path) -> None:
    put(store, tmp_path, 1)
    second = put(store, tmp_path, 2)
    flip(tmp_path / "store" / "index" / second.version / "index.ann")
    flip(tmp_path / "store" / "index" / second.version / "manifest.json")
    forget()
    again = put(store, tmp_path, 2)
    forget()
    assert again.version == second.version and current(store) == again
    assert open_index(store, again).rows.products == 20


def test_rolling_back_restores_the_version_before_and_twice_goes_back_two(store: Store, tmp_path: Path) -> None:
    first, second, third = (put(store, tmp_path, seed) for seed in (1, 2, 3))
    back = rollback(store)
    assert (back.number, back.version, back.restores) == (4, second.version, second.number)
    assert current(store) == back
    assert rollback(store).version == first.version
    with pytest.raises(NotFound, match="before the current"):
        rollback(store)
    forward = rollback(store, third.version)
    assert (forward.number, forward.version) == (6, third.version)
    assert rollback(store, third.version) == forward
    assert rollback(store).version == second.version


def test_after_a_rollback_a_new_index_can_be_published_and_rolled_back(store: Store, tmp_path: Path) -> None:
    first, _ = put(store, tmp_path, 1), put(store, tmp_path, 2)
    assert rollback(store).version == first.version
    third = put(store, tmp_path, 3)
    assert current(store) == third


def test_rolling_back_passes_over_a_damaged_version_but_not_over_a_named_one(store: Store, tmp_path: Path) -> None:
    first, second, _ = (put(store, tmp_path, seed) for seed in (1, 2, 3))
    flip(tmp_path / "store" / "index" / second.version / "vectors.npy")
    forget()
    with pytest.raises(IndexDamaged, match="cannot be restored"):
        rollback(store, second.version)
    assert rollback(store).version == first.version


def test_an_unknown_version_cannot_be_restored(store: Store, tmp_path: Path) -> None:
    first = put(store, tmp_path, 1)
    with pytest.raises(NotFound, match=first.version):
        rollback(store, "0123456789abcdef")


def _publish(root: str, folder: str, barrier: multiprocessing.synchronize.Barrier) -> None:
    manifest = Manifest.from_bytes((Path(folder) / "manifest.json").read_bytes())
    barrier.wait()
    publish(Store(root), Path(folder), manifest)


def test_two_processes_publishing_at_once_make_two_records(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    workers = []
    for seed in (1, 2):
        built(shop(20, 4, seed=seed), tmp_path / str(seed))
        arguments = (str(tmp_path / "store"), str(tmp_path / str(seed)), barrier)
        workers.append(context.Process(target=_publish, args=arguments))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0]
    records = history(Store(tmp_path / "store"))
    assert [record.number for record in records] == [2, 1]
    assert len({record.version for record in records}) == 2


def test_a_number_taken_by_someone_else_is_passed_over(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, tmp_path, 1)
    taken = iter([[1], [1, 2]])
    store.write("index/published/000000002.json", b"{}")
    real = versions._numbers

    def stale(of: Store) -> list[int]:
        return next(taken, None) or real(of)

    manifest = built(shop(20, 4, seed=2), tmp_path / "two")
    checksum = versions._put_version(store, tmp_path / "two", manifest, version_of(manifest))
    monkeypatch.setattr(versions, "_numbers", stale)
    assert versions._record(store, version_of(manifest), checksum, "", None).number == 3


def test_an_object_store_publishes_and_opens_the_same_way(s3: S3Server, tmp_path: Path) -> None:
    store = Store("s3://shop/index-versions")
    first, second = put(store, tmp_path, 1), put(store, tmp_path, 2)
    assert current(store) == second and open_index(store, second).rows.products == 20
    assert rollback(store).version == first.version
    # A copy gone bad in the local cache is fetched anew; a bad original is refused.
    check = verify(store, second).files["vectors.npy"]
    flip(store.local_file(f"index/{second.version}/vectors.npy", check.sha256))
    assert open_index(store, second).rows.products == 20
    store.write(f"index/{second.version}/vectors.npy", b"other")
    store.local_file(f"index/{second.version}/vectors.npy", check.sha256).unlink()
    with pytest.raises(IndexDamaged):
        open_index(store, second)
