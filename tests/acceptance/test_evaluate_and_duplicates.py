"""`vetrina evaluate` and `vetrina duplicates` as a person meets them."""

from collections.abc import Iterator

import pytest
from support.commands import refusal, run, values
from support.fault_server import FaultServer
from support.hostile import jpeg
from support.shops import Shop, opened_shop, rows_of

from vetrina.evaluation.metrics import mean_average_precision_at_k

SEATS, REST = ["oak-chair", "white-chair", "slippers", "bootie"], ["coffee-cup", "beer-glass", "yogurt-bottle", "box"]
NAME = '<img src="http://evil.example/a.png"> [red]chair[/red]'


@pytest.fixture(scope="module")
def labelled(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Shop]:
    """Eight products in two categories, a copy of one of them, one of its own category, and one without any."""
    pictures = {f"/{name}.png": data for name, data in product_pictures.items()}
    pictures["/again.jpg"] = jpeg(product_pictures["oak-chair"], quality=85)
    with FaultServer(pictures) as server, opened_shop(tmp_path_factory.mktemp("quality")) as shop:
        rows = rows_of(server, SEATS, category="Seats & shoes", split="training", same="yes")
        rows += rows_of(server, REST, category="Kitchen", split="training", same="yes")
        rows += [{"id": "chair copy", "url": server.url("/again.jpg"), "category": "Seats & shoes", "name": NAME}]
        rows[-1]["split"] = "validation"
        rows += rows_of(server, ["umbrella"], category="Rain", split="training")
        rows += rows_of(server, ["teddy-bear"], origin="elsewhere")
        shop.add(shop.catalog("all", rows))
        yield shop


def test_the_measures_come_as_json_with_intervals_and_everything_is_counted(labelled: Shop) -> None:
    found = values("evaluate", "--label", "category", "-k", 3)
    for name in ("map@3", "precision@5", "precision@3", "accuracy@4", "ndcg@3", "recall@3"):
        for estimate in (found[name], found["macro"][name]):
            assert set(estimate) == {"value", "low", "high"}
            assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1
    counts = found["counts"]
    assert (counts["products"], counts["labelled"], counts["queries"], counts["searched"]) == (11, 10, 9, 10)
    assert counts["left_out"] == {"no label": 1, "the only one of its class": 1}
    assert [(entry["class"], entry["products"]) for entry in found["classes"]] == [
        ("Seats & shoes", 5),
        ("Kitchen", 4),
        ("Rain", 1),
    ]
    index = labelled.deployment.window().index
    assert found["index"]["version"] == index.version
    assert found["index"]["fingerprints"] == index.manifest.fingerprints
    assert found["recall@3"]["value"] == 1  # served exactly: the shop is tiny
    assert found["latency_ms"]["p50"] > 0


def test_the_map_is_that_of_the_answers_that_similar_gives(labelled: Shop) -> None:
    found = values("evaluate", "--label", "category", "-k", 3)
    of = {**dict.fromkeys([*SEATS, "chair copy"], "seats"), **dict.fromkeys(REST, "kitchen"), "umbrella": "rain"}
    answers = []
    for name, label in of.items():
        if label != "rain":
            near = [other for other in labelled.similar(name) if other in of]
            relevant = sum(label == other for other in of.values()) - 1
            answers.append(([of[other] == label for other in near[:3]], relevant))
    assert found["map@3"]["value"] == pytest.approx(mean_average_precision_at_k(answers, 3), abs=1e-6)


def test_the_copy_is_reported_as_a_leak(labelled: Shop) -> None:
    found = values("evaluate", "--label", "category", "-k", 3)
    assert (found["duplicates"]["groups"], found["duplicates"]["products"]) == (1, 2)
    without = found["without_duplicates"]
    assert (without["queries_with"], without["answers_with"]) == (2, 2)
    assert without["map@3"]["value"] < found["map@3"]["value"]
    assert without["difference"]["map@3"]["value"] == pytest.approx(
        without["map@3"]["value"] - found["map@3"]["value"], abs=2e-6
    )


def test_a_split_asks_with_one_part_and_finds_the_other(labelled: Shop) -> None:
    found = values("evaluate", "--label", "category", "-k", 3, "--split", "split=validation")
    assert found["counts"]["queries"] == 1
    assert found["counts"]["searched"] == 9
    assert found["map@3"]["value"] >= 1 / 3  # its original comes first
    chosen = values("evaluate", "--label", "category", "-k", 3, "--queries", "split=validation")
    assert chosen["counts"]["searched"] == 10


@pytest.mark.parametrize("distractors", ["1", "origin=elsewhere"])
def test_distractors_are_added_to_what_is_searched(labelled: Shop, distractors: str) -> None:
    found = values("evaluate", "--label", "category", "-k", 3, "--distractors", distractors)
    assert (found["counts"]["searched"], found["counts"]["distractors"]) == (11, 1)


def test_the_keys_of_a_search_that_can_be_trusted_are_there(labelled: Shop) -> None:
    found = values("evaluate", "--label", "category", "-k", 9)
    for name in ("map@9", "precision@5", "precision@9", "accuracy@4", "ndcg@9", "recall@9"):
        assert {"value", "low", "high"} == set(found[name]) == set(found["macro"][name])
        assert all(name in entry for entry in found["classes"] if entry["queries"])
    assert found["visited"]["mean"] == found["index"]["items"] == found["visited"]["most"]
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    assert found["cpu_ms"]["mean"] > 0
    assert found["sweep"] is None


def test_a_sweep_is_shown_as_a_table_and_a_curve_and_comes_as_json(labelled: Shop) -> None:
    file = labelled.folder / "sweep.html"
    done = run("evaluate", "--label", "category", "-k", 3, "--sweep", "--report", file)
    assert done.returncode == 0, done.stderr
    assert "Whole pictures of 10 products, 9 queries, exact search" in done.stdout
    assert "1280 (raw)" in done.stdout
    assert "Quality over dimensions" in file.read_text()
    (raw,) = values("evaluate", "--label", "category", "-k", 3, "--sweep")["sweep"]["spaces"]
    assert (raw["dims"], raw["raw"], raw["neighbours@3"]["value"]) == (1280, True, 1)
    assert raw["cpu_ms"] > 0


def test_a_person_gets_tables_and_a_report_that_shows_names_and_runs_nothing(labelled: Shop) -> None:
    file = labelled.folder / "report.html"
    file.write_text("an older report")
    done = run("evaluate", "--label", "category", "-k", 3, "--report", file)
    assert done.returncode == 0, done.stderr
    for word in ("map@3", "Seats & shoes", "no label", "2 products in 1 groups", str(file)):
        assert word in done.stdout, word
    page = file.read_text()
    assert "Seats &amp; shoes" in page
    assert "&lt;img src=" in page
    assert '<img src="http' not in page
    assert page.count("data:image/jpeg;base64,") > 10
    assert not list(labelled.folder.glob(".*.part"))


def test_duplicates_are_shown_with_their_evidence(labelled: Shop) -> None:
    (group,) = values("duplicates")["groups"]
    assert [product["product_id"] for product in group["products"]] == ["chair copy", "oak-chair"]
    assert group["products"][0]["name"] == NAME
    done = run("duplicates")
    assert done.returncode == 0
    assert NAME in done.stdout
    assert "same picture, encoded again or resized" in done.stdout


def test_kinds_of_index_are_compared_on_the_vectors_of_the_shop(labelled: Shop) -> None:
    found = values("kinds", "-k", 3)
    assert [kind["kind"] for kind in found["kinds"]] == ["annoy", "exact", "lsh", "graph"]
    assert found["version"] == labelled.deployment.window().index.version and found["k"] == 3
    exact = found["kinds"][1]
    assert [entry["recall"] for entry in exact["reached"]] == [1, 1, 1] and exact["visited"] == [1, 1, 1]
    done = run("kinds", "-k", 3)
    assert done.returncode == 0
    assert "recall wanted" in done.stdout and "100.0%" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--label", "catagory"], "did you mean 'category'"),
        (["--label", "same"], "all 8 labelled products are 'yes'"),
        (["--label", "category", "-k", 10], "only 9 products can be found"),
        (["--label", "category", "-k", 3, "--split", "split"], "write it as ATTRIBUTE=VALUE"),
        (["--label", "category", "-k", 3, "--split", "split=valid"], "did you mean 'validation'"),
        (["--label", "category", "-k", 3, "--split", "a=b", "--queries", "a=b"], "not both"),
        (["--label", "category", "--distractors", 2], "There are 1 products without 'category'"),
        (["--label", "category", "--distractors", "-1"], "give a number or ATTRIBUTE=VALUE"),
        (["--label", "category", "--distractors", "split=training"], "distractors must have none"),
        (["--label", "category", "-k", 3, "--report", "/nowhere/at/all.html"], "/nowhere/at/all.html"),
    ],
)
def test_each_mistake_is_one_clear_line(labelled: Shop, arguments: list[object], says: str) -> None:
    done = run("evaluate", *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("vetrina: ")]
    assert says in line
    assert "Traceback" not in done.stderr


def test_k_below_one_is_a_wrong_command(labelled: Shop) -> None:
    done = run("evaluate", "--label", "category", "-k", 0)
    assert done.returncode == 2
    assert "-k" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["evaluate", "--label", "category"], ["duplicates"], ["kinds"]], ids=lambda a: a[0]
)
def test_without_an_index_it_says_what_to_do(shop: Shop, arguments: list[str]) -> None:
    assert "vetrina add CATALOG" in refusal(*arguments)
