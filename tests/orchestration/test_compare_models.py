"""`vetrina compare` on a shop: what it embeds, what it finds, and what it refuses."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.extractors import HANDLE, Colours, offer_colours
from support.fault_server import FaultServer
from support.shops import Shop, opened_shop, rows_of

from orchestration import comparison, printing
from orchestration.comparison import compare_models
from orchestration.comparison_printing import comparison as show
from orchestration.home import open_instance
from orchestration.runs import RunFailed
from orchestration.trial_job import TRIAL_JOB
from vetrina.errors import ModelError, NotFound, SettingError
from vetrina.evaluation.evaluation import Plan
from vetrina.evaluation.speed import Speed
from vetrina.index.versions import history

LITE = "bundled:efficientnet-lite0"
SEATS, KITCHEN = ["oak-chair", "white-chair", "slippers", "bootie"], ["coffee-cup", "beer-glass", "yogurt-bottle"]
SERIES = {"cpu_p50": 1.0, "cpu_p99": 2.0, "wall_p50": 1.0, "wall_p99": 2.0}


@pytest.fixture(scope="module")
def stocked(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Shop]:
    """Seven products in two categories and one of its own, published."""
    pictures = {f"/{name}.png": data for name, data in product_pictures.items()}
    with FaultServer(pictures) as server, opened_shop(tmp_path_factory.mktemp("compare")) as shop:
        rows = rows_of(server, SEATS[:-1], category="Seats & shoes", split="training")
        rows += rows_of(server, SEATS[-1:], category="Seats & shoes", split="validation")
        rows += rows_of(server, KITCHEN, category="Kitchen", split="training")
        rows += rows_of(server, ["umbrella"], category="Rain", split="training")
        shop.add(shop.catalog("all", rows))
        yield shop


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Speed is not measured here (tests/evaluation/test_speed.py does): which models would be, on how many crops."""
    asked: list[tuple[str, int]] = []

    def measure(handle: str, store: object, crops: Sequence[np.ndarray]) -> Speed:
        asked.append((handle, len(crops)))
        return Speed(SERIES, SERIES, opened_in=0.1, loaded_mib=5.0, peak_mib=9.0, dims=48)

    monkeypatch.setattr(comparison, "measure_speed", measure)
    return asked


@pytest.fixture
def compare(
    stocked: Shop, measured: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    offer_colours(monkeypatch)

    def run(first: str = LITE, second: str = HANDLE, *, label: str = "", k: int = 3, **options: Any) -> dict[str, Any]:
        return compare_models(
            stocked.deployment, (first, second), Plan(label, k=k), progress=printing.Steps(quiet=True), **options
        )

    return run


def _files(shop: Shop) -> set[str]:
    return {str(path) for path in Path(shop.deployment.store.root).rglob("*") if path.is_file()}


def test_the_same_crops_are_embedded_once_and_the_index_is_not_touched(
    stocked: Shop, compare: Callable[..., dict[str, Any]], measured: list[tuple[str, int]]
) -> None:
    published = history(stocked.deployment.store)
    before = {name: stocked.similar(name) for name in SEATS}
    table = stocked.deployment.window().index.rows.table
    items, crops = len(table), len(table["crop_id"].unique())  # one crop may bear two labels
    first = compare(label="category")
    assert first["models"]["a"]["embedding"] is None  # what is served was embedded before
    embedding = first["models"]["b"]["embedding"]
    assert (embedding["embedded"], embedding["failed"]) == (crops, {})
    run = open_instance().get_run_by_id(embedding["run_id"])
    assert run is not None
    assert (run.job_name, run.is_success) == (TRIAL_JOB, True)
    assert measured == [(LITE, items), (HANDLE, items)]

    files = _files(stocked)
    again = compare(label="category")
    assert again["models"]["b"]["embedding"] is None
    assert _files(stocked) == files
    first["models"]["b"].pop("embedding")
    again["models"]["b"].pop("embedding")
    assert again == first  # seeded: the same question has the same answer
    assert history(stocked.deployment.store) == published
    assert {name: stocked.similar(name) for name in SEATS} == before


def test_each_side_is_what_that_model_would_serve(stocked: Shop, compare: Callable[..., dict[str, Any]]) -> None:
    found = compare(label="category", k=5)
    assert (found["models"]["a"]["dims"], found["models"]["b"]["dims"]) == (1280, Colours.dims)
    assert found["models"]["b"]["vector_bytes"] == 4 * Colours.dims
    served = stocked.deployment.window()
    assert found["models"]["a"]["items"] == served.index.manifest.items
    by_query = {entry["product_id"]: entry["a"] for entry in found["disagreements"]["overlap"]}
    for name, answer in by_query.items():
        assert answer == stocked.similar(name, 5)
    assert found["queries"] == len(SEATS) + len(KITCHEN)
    assert found["left_out"] == {"the only one of its class": 1}
    for name, change in found["difference"].items():
        if name != "macro":
            assert change["value"] == pytest.approx(found["b"][name]["value"] - found["a"][name]["value"], abs=2e-6)


def test_without_a_label_answers_speed_and_memory_are_compared_and_it_says_so(
    compare: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    found = compare()
    assert found["queries"] == found["products"] == 8
    assert found["verdict"]["word"] == "not measured"
    assert sum(found["overlap"]["counts"]) == 8
    assert not {"a", "b", "difference"} & found.keys()
    show(found)
    said = capsys.readouterr().out
    assert "cannot be said without a label (--label)" in said
    assert "CPU ms alone" in said


def test_a_person_sees_measures_classes_and_the_verdict(
    compare: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    found = compare(label="category", report=report)
    show(found)
    said = capsys.readouterr().out
    for words in ("map@3", "B − A, paired", "Seats & shoes", "the only one of its class", found["verdict"]["text"]):
        assert words in said, words
    assert f"The report is in {report}" in said
    page = report.read_text()
    assert page.startswith("<!doctype html>")
    assert "Seats &amp; shoes" in page
    assert page.count("data:image/jpeg;base64,") > 20


def test_a_split_asks_only_its_own_and_finds_only_the_others(compare: Callable[..., dict[str, Any]]) -> None:
    found = compare(label="category", split="split=validation", k=7, last_word=True)
    assert (found["by"], found["queries"]) == ("the last word of category", 1)
    (entry,) = found["disagreements"]["overlap"]
    assert entry["product_id"] == SEATS[-1]
    for model in "ab":
        assert sorted(entry[model]) == sorted([*SEATS[:-1], *KITCHEN, "umbrella"])


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (({"second": LITE}), SettingError, "are the same model; compare two different ones"),
        (({"second": "bundled:efficentnet-lite1"}), ModelError, "did you mean 'bundled:efficientnet-lite1'"),
        (({"second": "efficientnet"}), ModelError, "'efficientnet' names no model"),
        (({"label": "categroy"}), NotFound, "did you mean 'category'"),
        (({"split": "split=validation"}), SettingError, "give the label with --label"),
        (({"last_word": True}), SettingError, "give the label with --label"),
        (({"k": 8}), SettingError, "k is 8, but only 7 products can be found by a query"),
        (({"label": "category", "k": 9}), SettingError, "k is 9, but only 7 products"),
        (({"report": Path("/no/such/folder/r.html")}), SettingError, "no folder for /no/such/folder/r.html"),
    ],
    ids=["same", "near", "none", "label", "split", "last-word", "k", "k-with-label", "report"],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(
    compare: Callable[..., dict[str, Any]],
    measured: list[tuple[str, int]],
    arguments: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    with pytest.raises(error, match=says) as caught:
        compare(**arguments)
    assert "\n" not in str(caught.value)
    assert measured == []  # before time is spent on it


def test_a_model_that_cannot_embed_a_picture_is_refused_with_its_own_words(
    compare: Callable[..., dict[str, Any]], stocked: Shop, monkeypatch: pytest.MonkeyPatch, server: FaultServer
) -> None:
    def fail(self: Colours, pictures: object) -> np.ndarray:
        raise ModelError("The model gives 3 numbers where 48 are expected")

    monkeypatch.setattr(Colours, "fingerprint", "0" * 16)
    monkeypatch.setattr(Colours, "embed", fail)
    with pytest.raises(RunFailed, match=r"^The model gives 3 numbers where 48 are expected$"):
        compare()


def test_a_shop_without_products_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_colours(monkeypatch)
    with pytest.raises(NotFound, match="There is nothing to index"):
        compare_models(shop.deployment, (LITE, HANDLE), Plan(""), progress=printing.Steps(quiet=True))


def test_a_shop_of_one_product_is_refused(shop: Shop, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_colours(monkeypatch)
    shop.work(shop.register(shop.catalog("one", rows_of(server, ["box"]))))
    with pytest.raises(NotFound, match=r"^1 product is embedded by both models, so nothing can be like another; add"):
        compare_models(shop.deployment, (LITE, HANDLE), Plan(""), progress=printing.Steps(quiet=True))


def test_products_that_only_one_model_could_embed_are_left_out_and_counted(
    shop: Shop, server: FaultServer, monkeypatch: pytest.MonkeyPatch, measured: list[tuple[str, int]]
) -> None:
    offer_colours(monkeypatch)
    for name, products in (("one", SEATS), ("two", ["box"])):
        shop.work(shop.register(shop.catalog(name, rows_of(server, products))))
    store = shop.deployment.store
    damaged = next(file.path for file in store.walk("batches/") if "/labels/" in file.path and "/two-" in file.path)
    store.write(damaged, b"no table any more")
    found = compare_models(shop.deployment, (LITE, HANDLE), Plan("", k=2), progress=printing.Steps(quiet=True))
    assert found["products"] == len(SEATS)
    assert any("1 product that only one of the models embedded" in note for note in found["notes"])
    assert any(note.startswith("test:colours could not embed batch two-") for note in found["notes"])
