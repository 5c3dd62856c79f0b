"""The report of a comparison: whole, offline, and safe from what catalogs and handles say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from index_samples import opened, shop
from test_report import HOSTILE, NAMES, Page, picture

from vetrina.errors import PictureError
from vetrina.evaluation.comparison import as_json, compare_answers, compare_by_label
from vetrina.evaluation.comparison_report import html_report
from vetrina.evaluation.evaluation import Plan, assign_roles
from vetrina.index.settings import IndexSettings
from vetrina.search.engine import SearchEngine

PLAIN = IndexSettings(projection_dims=None, serve_with="exact")
TIMES = {"cpu_p50": 12.5, "cpu_p99": 13.0, "wall_p50": 20.0, "wall_p99": 31.0}
MODEL = {
    "handle": HOSTILE, "fingerprint": "f" * 16, "dims": 6, "vector_bytes": 24, "index_dims": 6, "index_bytes": 2e6,
    "variance_kept": None, "items": 40, "serve_with": "exact", "embedding": None,
    "speed": {"single": TIMES, "batch": TIMES, "opened_in": 0.5, "loaded_mib": 14.0, "peak_mib": 52.0, "dims": 6},
}  # fmt: skip


def report(folder: Path, *, labelled: bool = True, pixels: object = picture) -> str:
    first, second = (
        SearchEngine(opened(shop(40, 6, seed=1, clusters=4, spread=spread), folder / str(spread), PLAIN))
        for spread in (0.3, 2.0)
    )
    products = first.everything()
    ids = products.product_ids
    if labelled:
        labels = {name: ("<i>A</i>", "B")[number % 2] for number, name in enumerate(ids)}
        plan = Plan("<b>label</b>", k=5)
        found = compare_by_label((first, second), labels, assign_roles(ids, labels, plan), plan)
    else:
        found = compare_answers((first, second), ids, Plan("", k=5))
    values = as_json(found, 4) | {"by": found.plan.label, "products": 40}
    values["models"] = {"a": MODEL, "b": MODEL | {"embedding": {"embedded": 7, "reused": 3}, "variance_kept": 0.9}}
    values["notes"] = ["<u>a note</u>"]
    return html_report(found, values, products, NAMES, pixels)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(tmp_path_factory.mktemp("report"))


def test_the_page_is_whole_and_loads_nothing_from_anywhere(page: str) -> None:
    tags = Page(page).tags
    assert {"h1", "table", "figure", "svg"} <= {tag for tag, _ in tags}
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in tags}
    assert all(
        attributes.get("src", "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")  # type: ignore[union-attr]
        for _, attributes in tags
    )
    assert not re.search(r"url\(|@import", page)


def test_what_catalogs_and_handles_say_is_shown_and_never_run(page: str) -> None:
    assert HOSTILE[:20] not in page
    text = "".join(Page(page).text)
    for said in ("<b>label</b>", "<i>A</i>", "<u>a note</u>", HOSTILE[:20]):
        assert said in text, said
    page.encode("utf-8", "replace")


def test_figures_verdict_costs_and_every_gallery_are_on_it(page: str) -> None:
    text = "".join(Page(page).text)
    for words in (
        "map@5", "over classes", "B − A (paired)", "12.5", "0 of 5", "5 of 5", "Where B gains most",
        "Where B loses most", "least in common", "7 embedded, 3 reused", "90% of the variance", "2.0", "in both",
    ):  # fmt: skip
        assert words in text, words


def test_without_labels_the_page_has_no_measures_and_says_why(tmp_path: Path) -> None:
    text = "".join(Page(report(tmp_path, labelled=False)).text)
    assert "cannot be said without a label" in text
    assert "Blue: in both answers" in text
    for words in ("map@5", "Where B gains most", "Classes"):
        assert words not in text


@pytest.mark.parametrize("error", [PictureError("truncated", "cut"), FileNotFoundError()], ids=["unreadable", "gone"])
def test_a_picture_that_is_gone_leaves_an_empty_frame(tmp_path: Path, error: Exception) -> None:
    def broken(sha256: str) -> np.ndarray:
        raise error

    page = report(tmp_path, pixels=broken)
    assert "<img" not in page
    assert 'class="none"' in page
