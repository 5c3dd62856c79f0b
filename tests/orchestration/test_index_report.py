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
