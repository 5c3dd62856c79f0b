"""What is said of a published index: the chart in its materialization, and the weakest class in the status."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from support.fault_server import FaultServer
from support.shops import Shop, rows_of

from orchestration import printing
from orchestration.answers import shop_status, worst_class
from vetrina.errors import SettingError
from vetrina.settings import Settings


def test_a_published_index_shows_its_recall_as_a_chart_and_its_weakest_class_in_the_status(
    shop: Shop, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.work(shop.register(shop.catalog("spring", rows_of(server, ["oak-chair", "white-chair", "coffee-cup"]))))
    said = shop.publish().metadata["similarity_index"]
    drawn = re.fullmatch(r"!\[recall and time\]\(data:image/png;base64,(.+)\)", said["recall_and_time"])
    assert drawn is not None
    png = base64.b64decode(drawn[1])
    assert png.startswith(b"\x89PNG") and len(png) < 60_000
    assert said["exact_classes"] == []

    status = shop_status(shop.deployment, 10)
    worst = status["index"]["worst_class"]
    assert worst["label"] in {"Chair", "Mug", "Coffee cup"} and worst["recall"] == 1.0
    printing.status(status)
    assert f"Lowest recall of a class: {worst['label']} 1.000 (" in capsys.readouterr().out

    status["index"] |= {"exact_classes": ["Chair", "Mug"], "serve_with": "annoy"}
    printing.status(status)
    assert "Searched exactly, being below the target: Chair, Mug" in capsys.readouterr().out
    status["index"] |= {"serve_with": "exact"}
    printing.status(status)
    assert "being below" not in capsys.readouterr().out, "everything is searched exactly"


def test_the_weakest_class_is_that_of_lowest_recall_and_items_without_a_class_are_none() -> None:
    entries: list[dict[str, Any]] = [{"label": None, "recall": 0.1}, {"label": "A", "recall": 0.9}]
    assert worst_class({"by_label": [*entries, {"label": "B", "recall": 0.8}]}) == {"label": "B", "recall": 0.8}
    assert worst_class({"by_label": entries[:1]}) is None


def test_the_budget_of_time_reaches_the_index_and_must_not_be_negative(shop: Shop) -> None:
    assert shop.deployment.wanted().settings.query_ms == 0
    shop.set(QUERY_MS="2.5")
    assert shop.deployment.wanted().settings.query_ms == 2.5
    with pytest.raises(SettingError, match="VETRINA_QUERY_MS is -1"):
        Settings.from_environment({"VETRINA_QUERY_MS": "-1"})


def test_a_table_that_the_index_made_is_told_with_what_it_finds(
    shop: Shop, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.work(shop.register(shop.catalog("spring", rows_of(server, ["oak-chair", "white-chair", "coffee-cup"]))))
    said = shop.publish().metadata["similar_products"]
    assert said["made_by"] == "exact" and said["why"].endswith("are few enough to compare all")
    assert "recall" not in said
    table = shop_status(shop.deployment, 10)["index"]["table"]
    assert (table["made_by"], table["rows"], table["recall"]) == ("exact", 6, None)

    shop.set(TABLE="index")
    status = shop_status(shop.deployment, 10)
    assert status["index"]["table"] is None
    printing.status(status)
    assert "Its table of similar products is not there" in capsys.readouterr().out
    said = shop.publish().metadata["similar_products"]
    assert (said["made_by"], said["built"], said["recall"], said["recall_lower_95"]) == ("index", True, 1.0, 1.0)
    status = shop_status(shop.deployment, 10)
    printing.status(status)
    expected = "Table of similar products: made by the index, which finds 1.000 of its 6 lines (lower 95 % bound 1.000)"
    assert expected in capsys.readouterr().out


def test_how_the_dimensions_were_chosen_is_told_where_they_were(
    shop: Shop, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.set(PROJECTION_DIMS="auto")
    shop.work(shop.register(shop.catalog("spring", rows_of(server, ["oak-chair", "white-chair", "coffee-cup"]))))
    said = shop.publish().metadata["similarity_index"]
    # So few pictures are too few for any choice.
    assert said["dims"] == 1280 and "dims_choice" not in said
    assert not shop.publish().metadata["similarity_index"]["built"]

    monkeypatch.setattr("vetrina.index.build.CANDIDATES", (2,))
    monkeypatch.setattr("vetrina.index.dimensions.CANDIDATES", (2,))
    monkeypatch.setattr("vetrina.index.dimensions.FEWEST_PER_DIM", 1)
    shop.work(shop.register(shop.catalog("summer", rows_of(server, ["box"]))))
    said = shop.publish().metadata["similarity_index"]
    assert said["dims"] == 2 and said["dims_choice"]["frontier"][0]["dims"] == 2
