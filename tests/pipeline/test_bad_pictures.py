"""One batch with everything that can go wrong with a picture, through Dagster, and what comes after it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import fault_server as faults
from support.fault_server import Fault, FaultServer
from support.hostile import many_scans, png_bomb, tiny_png, truncated_jpeg
from support.shops import Shop, opened_shop

from vetrina.catalog.batches import find_batch

GOOD = ["oak-chair", "white-chair", "coffee-cup", "box", "umbrella", "bootie"]
WRONG = {
    "missing": "fetch_failed: http-404",
    "slow-drip": "fetch_failed: deadline",
    "reset": "fetch_failed: connection",
    "short-body": "fetch_failed: short-body",
    "redirect-loop": "fetch_failed: redirect-loop",
    "huge": "fetch_failed: too-large",
    "web-page": "not_a_picture: html-instead-of-picture",
    "truncated": "not_a_picture: truncated",
    "bomb": "not_a_picture: too-many-pixels",
    "many-scans": "not_a_picture: too-many-scans",
    "four-by-four": "too_small: too-small",
}
PASSING = {"slow-drip", "reset", "short-body"}
"""Failures that the next run asks about again by itself."""


def _faults(server: FaultServer, pictures: dict[str, bytes]) -> dict[str, Fault]:
    return {
        "coffee-cup": faults.status(500, times=1),
        "box": faults.too_many("0"),
        "missing": faults.status(404),
        "slow-drip": faults.drip(every=0.2),
        "reset": faults.reset(),
        "short-body": faults.short(),
        "redirect-loop": faults.redirect("/redirect-loop.png"),
        "huge": faults.answer(pictures["box"] + bytes(500_000)),
        "web-page": faults.html(),
        "truncated": faults.answer(truncated_jpeg(pictures["teddy-bear"])),
        "bomb": faults.answer(png_bomb()),
        "many-scans": faults.answer(many_scans(pictures["slippers"])),
        "four-by-four": faults.answer(tiny_png()),
    }


@dataclass
class Story:
    """A shop after its first batch."""

    shop: Shop
    server: FaultServer
    catalog: str
    first: dict[str, Any]
    asked: Counter[str]
    """Requests for each picture during the first batch."""


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Story]:
    folder: Path = tmp_path_factory.mktemp("bad-pictures")
    # Every picture would be fine once its fault is healed.
    names = [*GOOD, *WRONG]
    spare = list(product_pictures.values())
    sound = {f"/{name}.png": product_pictures.get(name, spare[at % len(spare)]) for at, name in enumerate(names)}
    with FaultServer(sound) as server, opened_shop(folder) as shop:
        shop.set(FETCH_DEADLINE=4, MAX_PICTURE_BYTES=400_000)
        for name, fault in _faults(server, product_pictures).items():
            server.fail(f"/{name}.png", fault)
        rows = [{"id": name, "url": server.url(f"/{name}.png")} for name in names]
        rows.insert(1, {"id": "", "url": server.url("/no-id.png")})
        rows.insert(2, {"id": "box", "url": server.url("/replaced-below.png")})
        rows.append({"id": "no picture", "url": ""})
        catalog = shop.catalog("spring", rows)
        first = shop.add(catalog)
        yield Story(shop, server, catalog, first, server.counts)


def test_every_row_ends_in_one_state_and_the_states_add_up(story: Story) -> None:
    (batch,) = story.first["batches"]
    assert story.first["failed"] == []
    assert batch["rows"] == len(GOOD) + len(WRONG) + 3
    assert sum(batch["states"].values()) == batch["rows"]
    expected = Counter(line.split(":")[0] for line in WRONG.values())
    expected |= Counter(rejected=2, superseded=1)
    found = Counter(batch["states"])
    searchable = found.pop("indexed", 0) + found.pop("indexed_whole", 0)
    assert (searchable, found) == (len(GOOD), expected)


def test_every_failure_has_its_reason(story: Story) -> None:
    found = {problem["product_id"]: f"{problem['state']}: {problem['reason']}" for problem in _problems(story)}
    assert {name: found.get(name) for name in WRONG} == WRONG


def test_bad_rows_are_listed_with_their_lines(story: Story) -> None:
    lines = {problem["line"]: problem["reason"] for problem in _problems(story)}
    assert lines[3] == "missing-id"
    assert lines[4] == "duplicate-id"
    assert lines[len(GOOD) + len(WRONG) + 4] == "missing-picture"


def test_of_two_rows_with_one_id_the_last_is_fetched(story: Story) -> None:
    assert story.asked["/replaced-below.png"] == 0
    assert "box" in story.shop.similar("oak-chair")


def test_a_server_that_recovers_at_once_costs_one_more_request(story: Story) -> None:
    assert {name: story.asked[f"/{name}.png"] for name in GOOD} == {
        **dict.fromkeys(GOOD, 1),
        "coffee-cup": 2,
        "box": 2,
    }


def test_only_what_is_sound_can_be_found(story: Story) -> None:
    for name in GOOD:
        assert set(story.shop.similar(name)) == set(GOOD) - {name}


def test_the_materializations_say_what_failed(story: Story) -> None:
    from orchestration.home import open_instance

    run_id = story.first["batches"][0]["run_id"]
    events = open_instance().all_logs(run_id)
    (images,) = [
        event.asset_materialization.metadata
        for event in events
        if event.asset_materialization and event.asset_materialization.asset_key.path == ["raw_images"]
    ]
    assert images["failures"].value == Counter(WRONG.values())
    assert images["failed"].value == len(WRONG)


def test_an_unchanged_run_asks_only_about_failures_that_may_have_passed(story: Story) -> None:
    before = story.server.counts
    report = story.shop.add(story.catalog)
    assert report["total"]["fetched"] == report["total"]["detected"] == report["total"]["embedded"] == 0
    assert report["batches"][0]["states"] == story.first["batches"][0]["states"]
    assert not report["batches"][0]["new"]
    assert not report["published"]["built"]
    assert set(story.server.counts - before) == {f"/{name}.png" for name in PASSING}


def test_retry_asks_for_the_failed_ones_only_and_takes_them_in(story: Story) -> None:
    for name in WRONG:
        story.server.heal(f"/{name}.png")
    before = story.server.counts
    report = story.shop.retry()
    assert story.server.counts - before == Counter(f"/{name}.png" for name in WRONG)
    assert report["total"]["fetched"] == len(WRONG)
    assert set(story.shop.similar("oak-chair")) == {*GOOD, *WRONG} - {"oak-chair"}
    assert set(story.shop.states().values()) == {
        "rejected: missing-id",
        "rejected: missing-picture",
        "superseded: duplicate-id",
    }


def _problems(story: Story) -> list[dict[str, Any]]:
    batch = find_batch(story.shop.deployment.store, story.first["batches"][0]["batch"])
    # As it was after the first batch: the report lists the first twenty.
    listed = story.first["batches"][0]["problems"]
    assert {problem["batch"] for problem in listed} == {batch.key}
    return listed
