"""`--where`, `--exact` and `vetrina explain` as a person meets them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import refusal, run, values
from support.fault_server import FaultServer
from support.shops import Shop, opened_shop, rows_of

from orchestration import printing
from orchestration.answers import explain_result


@pytest.fixture(scope="module")
def priced(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Shop]:
    """Five products in the index, and two that are newer."""
    pictures = {f"/{name}.png": data for name, data in product_pictures.items()}
    with FaultServer(pictures) as server, opened_shop(tmp_path_factory.mktemp("priced")) as shop:
        rows = rows_of(server, ["oak-chair", "white-chair"], room="Living room", price="1.299,00 EUR", name="Chair")
        rows += rows_of(server, ["coffee-cup", "box"], room="Kitchen", price="9,90 EUR")
        rows += rows_of(server, ["umbrella"], room="Hall", price="free")
        shop.add(shop.catalog("old", rows))
        newer = rows_of(server, ["bootie", "slippers"], room="Hall", price="59")
        shop.work(shop.register(shop.catalog("new", newer)))
        yield shop


def test_a_filter_leaves_only_what_passes_and_says_how_many_do(priced: Shop) -> None:
    answer = values("similar", "oak-chair", "--where", 'room = kitchen or room = "hall" and price < 100')
    assert {found["product_id"] for found in answer["similar"]} == {"coffee-cup", "box", "bootie", "slippers"}
    assert answer["available"] == 4
    dear = values("similar", "oak-chair", "--where", "price >= 1000", "--class", "Chair")
    assert [found["product_id"] for found in dear["similar"]] == ["white-chair"]
    none = run("similar", "oak-chair", "--where", "price > 5000")
    assert none.returncode == 0 and "Nothing else qualifies." in none.stdout


def test_a_photo_is_searched_within_a_filter_too(priced: Shop, product_pictures: dict[str, bytes]) -> None:
    photo = priced.folder / "cup.png"
    photo.write_bytes(product_pictures["coffee-cup"])
    answer = values("search", photo, "--where", "room != Kitchen", "-k", 9)
    assert "coffee-cup" not in {found["product_id"] for found in answer["similar"]}
    assert answer["available"] == 5


def test_chosen_products_are_left_out_of_an_answer(priced: Shop, product_pictures: dict[str, bytes]) -> None:
    answer = values("similar", "oak-chair", "--exclude", "box", "--exclude", "bootie", "-k", 9)
    ids = {found["product_id"] for found in answer["similar"]}
    assert ids == {"coffee-cup", "umbrella", "white-chair", "slippers"}
    assert (answer["available"], answer["problems"]) == (4, [])
    photo = priced.folder / "chair.png"
    photo.write_bytes(product_pictures["oak-chair"])
    said = run("search", photo, "--exclude", "oak-chair", "--exclude", "oak-chairs", "-k", 6).stdout
    assert "These are all 6 that qualify." in said
    assert "note Nothing to leave out: There is no product 'oak-chairs'" in said


def test_a_wrong_filter_is_one_line(priced: Shop) -> None:
    assert "did you mean 'room'?" in refusal("similar", "oak-chair", "--where", "rom = Kitchen")
    assert "lacks a value at its end" in refusal("similar", "oak-chair", "--where", "room =")


def test_an_exact_answer_says_what_the_index_would_have_missed(priced: Shop) -> None:
    assert values("similar", "oak-chair", "--exact")["missed"] == []
    assert values("similar", "oak-chair")["missed"] is None
    assert "would have missed: none of them" in run("similar", "oak-chair", "--exact").stdout


def test_a_result_is_explained_down_to_the_catalog_line(priced: Shop) -> None:
    answer = values("similar", "oak-chair", "-k", 9)
    first, last = answer["similar"][0], answer["similar"][-1]
    found = values("explain", "oak-chair", first["product_id"])
    assert (found["rank"], found["of"], found["found"]) == (1, 6, True)
    assert found["score"] == pytest.approx(first["score"], abs=1e-4)
    best = found["pairs"][0]
    assert best["distance"] == pytest.approx((2 - 2 * best["cosine"]) ** 0.5, abs=1e-4)
    assert best["result"]["box"] == first["box"]
    assert Path(best["result"]["picture"]).is_file()
    origin = found["query"]["origin"]
    assert (origin["line"], origin["catalog"], json.loads(origin["attributes"])["room"]) == (2, "old", "Living room")
    assert origin["picture"].endswith("/oak-chair.png")
    assert found["models"]["extractor"] and found["index"]["version"] == answer["index_version"]
    assert values("explain", "oak-chair", last["product_id"])["rank"] == 6
    assert values("explain", "oak-chair", "bootie")["newer_than_index"] is True


def test_the_explanation_can_be_read(priced: Shop) -> None:
    said = run("explain", "oak-chair", "bootie").stdout
    for part in ("bootie for oak-chair", "newer than the index", "new.csv, line 2", "room: Living room", "extractor"):
        assert part in said


def test_a_photo_is_explained_without_an_origin(priced: Shop, product_pictures: dict[str, bytes]) -> None:
    photo = priced.folder / "box.png"
    photo.write_bytes(product_pictures["box"])
    found = values("explain", photo, "box")
    assert (found["rank"], found["of"], found["query"]["origin"]) == (1, 7, None)


def test_a_file_that_cannot_be_looked_at_or_read_is_one_line(priced: Shop) -> None:
    long = "a" * 300
    assert f"There is no product '{long}'" in refusal("explain", long, "box")
    assert "There is no product" in refusal("explain", f"{long}/photo.png", "box")
    assert f"{long} cannot be read: File name too long" in refusal("search", long)
    ring = priced.folder / "ring.png"
    ring.symlink_to(ring)
    assert f"{ring} cannot be read: Too many levels of symbolic links" in refusal("search", ring)
    assert "is a folder; name a picture file" in refusal("search", priced.folder)


def test_a_problem_of_the_index_is_told_with_an_explanation(priced: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    report = explain_result(priced.deployment, "oak-chair", "box")
    printing.explanation(report)
    assert "note" not in capsys.readouterr().out
    printing.explanation(report | {"problems": ["Index 7 is damaged: [b] lacks a file"]})
    assert "note Index 7 is damaged: [b] lacks a file" in capsys.readouterr().out


def test_a_floor_that_a_small_shop_cannot_judge_by_is_told(
    priced: Shop, product_pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = priced.folder / "umbrella.png"
    photo.write_bytes(product_pictures["umbrella"])
    assert values("search", photo)["problems"] == []
    found = values("search", photo, "--min-similarity", 0.9)
    assert found["nothing_similar"] is None
    (problem,) = found["problems"]
    assert problem.startswith("A least similarity of 0.9 makes no difference: ")
    assert problem.endswith("by its 10th nearest product, and the shop has 7 products")
    monkeypatch.setenv("VETRINA_MIN_SIMILARITY", "0.8")
    assert "note A least similarity of 0.8 makes no difference" in run("search", photo).stdout


def test_what_cannot_be_explained_is_one_line(priced: Shop) -> None:
    assert "is the query itself" in refusal("explain", "oak-chair", "oak-chair")
    assert "did you mean 'oak-chair'?" in refusal("explain", "oak-chairs", "box")
    assert "There is no product 'boxes'" in refusal("explain", "oak-chair", "boxes")
