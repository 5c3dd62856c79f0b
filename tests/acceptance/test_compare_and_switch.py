"""`vetrina compare` and `vetrina switch` as a person meets them, each in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.extractors import HANDLE, offer_colours
from support.fault_server import FaultServer
from support.shops import Shop, opened_shop, rows_of

VETRINA = str(Path(sys.executable).with_name("vetrina"))
LITE = "bundled:efficientnet-lite0"
SEATS, REST = ["oak-chair", "white-chair", "bootie"], ["coffee-cup", "beer-glass", "box"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`vetrina ...` in a process of its own, under the settings in force."""
    return subprocess.run([VETRINA, *map(str, arguments)], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def stocked(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Shop]:
    """Six products in two categories, published; processes know a second extractor."""
    pictures = {f"/{name}.png": data for name, data in product_pictures.items()}
    with (
        FaultServer(pictures) as server,
        opened_shop(tmp_path_factory.mktemp("switch")) as shop,
        pytest.MonkeyPatch.context() as environment,
    ):
        offer_colours(environment)
        rows = rows_of(server, SEATS, category="Seats") + rows_of(server, REST, category="Kitchen")
        shop.add(shop.catalog("all", rows))
        yield shop


def test_from_comparison_to_switch_and_back(stocked: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "report.html"
    done = run("compare", LITE, HANDLE, "--label", "category", "-k", 3, "--report", report, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["queries"] == len(SEATS) + len(REST)
    assert found["models"]["a"]["speed"]["single"]["cpu_p50"] > found["models"]["b"]["speed"]["single"]["cpu_p50"]
    assert found["models"]["a"]["speed"]["peak_mib"] > found["models"]["b"]["speed"]["peak_mib"]
    assert report.read_text().startswith("<!doctype html>")

    before = stocked.similar("box")
    prepared = run("switch", HANDLE)
    assert prepared.returncode == 0, prepared.stderr
    assert f"Every batch is embedded by {HANDLE} already" in prepared.stdout  # the comparison embedded all
    assert f"set VETRINA_EXTRACTOR={HANDLE} for every process" in prepared.stdout
    assert stocked.similar("box") == before
    monkeypatch.setenv("VETRINA_EXTRACTOR", HANDLE)
    switched = run("switch", HANDLE, "--json")
    assert switched.returncode == 0, switched.stderr
    assert json.loads(switched.stdout)["published"]["built"]
    photo = tmp_path / "photo.png"
    photo.write_bytes((Path(__file__).parents[1] / "data" / "pictures" / "box.png").read_bytes())
    monkeypatch.delenv("VETRINA_EXTRACTOR")  # a process that still has the old setting
    seen = run("search", photo, "-k", 1, "--json")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)["similar"][0]["product_id"] == "box"
    assert run("rollback").returncode == 0
    assert stocked.similar("box") == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("compare", LITE, LITE), "are the same model"),
        (("compare", LITE, "bundled:efficientnet-lit0"), "did you mean 'bundled:efficientnet-lite0'"),
        (("switch", "nothing"), "'nothing' names no model"),
    ],
)
def test_what_cannot_be_done_is_one_line(stocked: Shop, arguments: tuple[str, ...], says: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("vetrina: ")
    assert says in line
