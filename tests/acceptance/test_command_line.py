"""The command line as a person meets it: each mistake is one clear line and a non-zero exit."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from support.commands import refusal, run
from support.fault_server import FaultServer
from support.hostile import tiny_png
from support.shops import Shop, opened_shop, rows_of

from orchestration.answers import shop_status
from orchestration.home import make_home
from vetrina.index.versions import current


@pytest.fixture(scope="module")
def stocked(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Shop]:
    """A shop of six products with two index versions and some bad rows."""
    folder = tmp_path_factory.mktemp("command-line")
    pictures = {f"/{name}.png": data for name, data in product_pictures.items()}
    with FaultServer(pictures) as server, opened_shop(folder) as shop:
        shop.add(shop.catalog("spring", rows_of(server, ["oak-chair", "coffee-cup", "box"])))
        rows = rows_of(server, ["white-chair", "bootie", "umbrella", "no-such-picture"], name="new")
        shop.add(shop.catalog("summer", [*rows, {"id": "", "url": "x"}]))
        yield shop


def test_a_catalog_that_is_missing(shop: Shop) -> None:
    assert "There is no catalog at /nowhere/at-all.csv" in refusal("add", "/nowhere/at-all.csv")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("catalog.docx", b"PK\x03\x04 and so on", "docx"),
        ("empty.csv", b"", "empty"),
        ("headless.csv", b"colour,url\nred,a.png\n", "id"),
    ],
    ids=["unknown format", "empty", "no id column"],
)
def test_a_catalog_that_is_none(shop: Shop, name: str, content: bytes, says: str) -> None:
    file = shop.folder / name
    file.write_bytes(content)
    line = refusal("add", file)
    assert says in line
    assert name in line


def test_no_index_yet(shop: Shop) -> None:
    assert "vetrina add CATALOG" in refusal("similar", "box")


@pytest.mark.parametrize("content", [b"<html>no</html>", tiny_png()], ids=["web page", "too small"])
def test_a_photo_that_is_unreadable(stocked: Shop, content: bytes) -> None:
    photo = stocked.folder / "photo.png"
    photo.write_bytes(content)
    assert refusal("search", photo).startswith(f"vetrina: {photo} cannot be used as a photo: ")


def test_a_photo_that_is_missing(stocked: Shop) -> None:
    assert "/nowhere/photo.png" in refusal("search", "/nowhere/photo.png")


def test_an_unknown_class(stocked: Shop) -> None:
    assert "Chair" in refusal("similar", "box", "--class", "Chiar")


def test_an_unknown_product_id_brings_a_suggestion(stocked: Shop) -> None:
    line = refusal("similar", "oak-chiar")
    assert "'oak-chiar'" in line
    assert "did you mean 'oak-chair'" in line


def test_a_wrong_setting(shop: Shop) -> None:
    shop.set(MIN_SCORE="high")
    assert "VETRINA_MIN_SCORE is 'high'" in refusal("status")


def test_status_adds_up(stocked: Shop) -> None:
    done = run("status", "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["rows"] == sum(report["states"].values()) == 8
    assert report["states"]["rejected"] == report["states"]["fetch_failed"] == 1
    for batch in report["batches"]:
        assert batch["rows"] == sum(batch["states"].values())


def test_similar_gives_json_and_draws_a_picture(stocked: Shop) -> None:
    picture = stocked.folder / "answer.png"
    done = run("similar", "oak-chair", "-k", 3, "--json", "--picture", picture)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    found = [entry["product_id"] for entry in report["similar"]]
    assert len(found) == len(set(found)) == 3
    assert "oak-chair" not in found
    names = {entry["product_id"]: entry["name"] for entry in report["similar"]}
    assert names.get("umbrella", "new") == names.get("bootie", "new") == "new"
    assert names.get("box") is None
    scores = [entry["score"] for entry in report["similar"]]
    assert scores == sorted(scores, reverse=True)
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG"
        assert drawn.width > drawn.height > 50


def test_search_finds_the_product_on_its_own_photo(stocked: Shop, product_pictures: dict[str, bytes]) -> None:
    photo = stocked.folder / "mine.png"
    photo.write_bytes(product_pictures["coffee-cup"])
    done = run("search", photo, "-k", 2, "--json")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)["similar"][0]
    assert (first["product_id"], first["score"]) == ("coffee-cup", pytest.approx(1, abs=1e-3))


@pytest.fixture
def copied(stocked: Shop, tmp_path: Path) -> Iterator[Path]:
    """The store of the stocked shop, to be spoilt."""
    store = tmp_path / "store"
    shutil.copytree(stocked.folder / "store", store)
    before = stocked.folder / "store"
    stocked.set(STORE=store)
    yield store
    stocked.set(STORE=before)


def spoil(store: Path, version: str) -> None:
    """Turn one bit of a version's index around."""
    file = store / "index" / version / "index.ann"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_a_damaged_index_is_passed_over_for_the_one_before(stocked: Shop, copied: Path) -> None:
    newest = current(stocked.deployment.store)
    assert newest is not None
    spoil(copied, newest.version)
    done = run("similar", "oak-chair", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["index_version"] != newest.version
    assert "is skipped" in " ".join(report["problems"])
    # The batch that only the damaged version had is searched beside the older one.
    assert {"coffee-cup", "box", "white-chair", "bootie", "umbrella"} == {
        entry["product_id"] for entry in report["similar"]
    }


def test_when_every_index_is_damaged_it_says_so(stocked: Shop, copied: Path) -> None:
    for folder in (copied / "index").iterdir():
        if (folder / "index.ann").exists():
            spoil(copied, folder.name)
    assert "No index version can be used" in refusal("similar", "oak-chair")


def test_publishing_again_repairs_a_damaged_index(stocked: Shop, copied: Path) -> None:
    newest = current(stocked.deployment.store)
    assert newest is not None
    spoil(copied, newest.version)
    done = run("add", stocked.folder / "spring.csv", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["total"] == {"fetched": 0, "detected": 0, "embedded": 0, "reused": 3, "kept": 0}
    assert (report["published"]["built"], report["published"]["version"]) == (True, newest.version)
    assert shop_status(stocked.deployment, 0)["index"]["version"] == newest.version


def test_a_snapshot_that_would_remove_too_much_is_refused_until_it_is_confirmed(
    stocked: Shop, copied: Path, product_pictures: dict[str, bytes]
) -> None:
    catalog = stocked.catalog("spring", [{"id": "box", "url": "https://pics.invalid/box.png"}])
    line = refusal("add", "--snapshot", catalog)
    assert "would remove 2 of the 3 products" in line
    assert "run the same command again with --confirm-removals" in line
    assert len(json.loads(run("status", "--json").stdout)["batches"]) == 2
    done = run("add", "--snapshot", "--confirm-removals", catalog, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["batches"][0]["removed_by_snapshot"] == 2


def test_sync_says_what_changes_works_it_once_and_shows_what_it_refused(stocked: Shop, copied: Path) -> None:
    assert "VETRINA_SYNC_SOURCE" in refusal("sync")
    catalog = stocked.catalog("spring", [{"id": "box", "url": "https://pics.invalid/box.png"}])
    dry = run("sync", catalog, "--dry-run", "--confirm-removals", "--json")
    assert dry.returncode == 0, dry.stderr
    difference = json.loads(dry.stdout)["sync"]["difference"]
    assert (difference["changed"], difference["vanished"], difference["brought"]) == (1, 2, 3)

    assert "would remove 2 of the 3 products" in refusal("sync", catalog)
    (problem,) = json.loads(run("status", "--json").stdout)["set_aside"]
    assert problem["source"] == catalog
    assert f"set aside {catalog} since {problem['since']}" in run("status").stdout

    done = run("sync", catalog, "--confirm-removals", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["batches"][0]["removed_by_snapshot"] == 2
    assert report["published"]["built"]

    again = run("sync", catalog)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("Skipped: ")
    assert json.loads(run("status", "--json").stdout)["set_aside"] == []


def test_gc_tells_what_it_would_delete_and_then_deletes_it(stocked: Shop, copied: Path) -> None:
    leftover = copied / "blobs" / "ab" / ".0123.part"
    leftover.parent.mkdir(exist_ok=True)
    leftover.write_bytes(b"half a picture")
    done = run("gc", "--older-than", 0, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["dry_run"], report["kinds"]["interrupted writes"]) == (True, {"files": 1, "bytes": 14})
    assert leftover.exists()
    done = run("gc", "--older-than", 0)
    assert done.returncode == 0, done.stderr
    assert f"{report['total']['files']} files" in done.stdout
    assert not leftover.exists()
    assert json.loads(run("similar", "oak-chair", "--json").stdout)["similar"]


def test_a_history_that_cannot_be_written_is_said_in_one_line(
    stocked: Shop, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = stocked.catalog("spring", [{"id": "box", "url": "https://pics.invalid/box.png"}])
    (tmp_path / "file").touch()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "file" / "home"))
    assert "DAGSTER_HOME" in refusal("add", catalog)
    home = tmp_path / "home"
    make_home(home)
    (home / "schedules").mkdir()
    (home / "schedules" / "schedules.db").write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    line = refusal("add", catalog)
    assert "history" in line
    assert "file is not a database" in line
