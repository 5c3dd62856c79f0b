"""The report: whole, offline, and safe from what catalogs say."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from index_samples import ODD_IDS, opened, shop, table

from vetrina.errors import PictureError
from vetrina.evaluation.evaluation import Plan, as_json, assign_roles, evaluate
from vetrina.evaluation.report import html_report
from vetrina.evaluation.sweep import sweep
from vetrina.index.settings import IndexSettings
from vetrina.search.engine import SearchEngine

_VOID = {"meta", "img", "br"}
HOSTILE = '<script src="http://evil.example/x.js">alert(1)</script>'
NAMES = {"p00000": HOSTILE, "p00001": '" onload="x', "p00002": "x" * 5000, "p00003": "\ud800\u202e\x00 odd"}


class Page(HTMLParser):
    """The tags of a page, and whether each that was opened was closed in turn."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def picture(sha256: str) -> np.ndarray:
    return np.full((30, 50, 3), 90, np.uint8)


def report(
    folder: Path, *, pixels: object = picture, classes: tuple[str, ...] = ("A", "B"), swept: bool = False
) -> str:
    items = shop(40, 40, seed=1, clusters=4)
    engine = SearchEngine(opened(items, folder, IndexSettings(projection_dims=None)))
    products = engine.everything()
    labels = {name: classes[number % len(classes)] for number, name in enumerate(products.product_ids)}
    plan = Plan("<b>label</b>", k=5)
    roles = assign_roles(products.product_ids, labels, plan)
    found = evaluate(engine, labels, roles, plan, duplicates={"p00000": ["p00002"], "p00002": ["p00000"]})
    values = as_json(found)
    values["duplicates"] = {"groups": 1, "products": 2, "first": []}
    values["index"] = {
        "version": "abc", "serve_with": "exact", "serve_reason": "<i>few</i>", "recall_at_build": 1.0,
        "settings": {"seed": 1}, "fingerprints": {"extractor": "f<1>"},
    }  # fmt: skip
    values["sweep"] = None
    if swept:
        values["sweep"] = sweep([table(items)], labels, roles, plan).as_json()
    return html_report(found, values, products, NAMES, pixels)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(tmp_path_factory.mktemp("report"))


def test_every_tag_is_closed(page: str) -> None:
    assert {"h1", "table", "figure", "svg"} <= {tag for tag, _ in Page(page).tags}


def test_the_page_loads_nothing_from_anywhere(page: str) -> None:
    parsed = Page(page)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in parsed.tags}
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            assert attributes.get(name, "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,"), (tag, name)
        assert not any(name.startswith("on") for name in attributes), tag
    assert not re.search(r"url\(|@import", page)
    policy = next(found["content"] for tag, found in parsed.tags if found.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_what_catalogs_say_is_shown_and_never_run(page: str) -> None:
    assert "&lt;script" in page
    assert HOSTILE[:20] not in page
    text = "".join(Page(page).text)
    assert "<b>label</b>" in text
    assert "<i>few</i>" in text
    assert "f<1>" in text
    assert "x" * 200 not in page


def test_the_page_can_be_written_whatever_the_names(tmp_path: Path) -> None:
    page = report(tmp_path, classes=(*ODD_IDS, "\ud800"))
    page.encode("utf-8")
    assert "\x00" not in page
    Page(page)


def test_the_figures_and_the_classes_are_on_it(page: str) -> None:
    text = "".join(Page(page).text)
    for word in ("map@5", "ndcg@5", "accuracy@4", "recall@5", "difference (paired)", "40 of 40 products"):
        assert word in text, word


def test_there_is_a_map_by_axes_and_one_by_neighbours(page: str) -> None:
    maps = [found for tag, found in Page(page).tags if tag == "svg"]
    assert [found["aria-label"] for found in maps] == ["Map of the products"] * 2
    text = "".join(Page(page).text)
    assert "(PCA)" in text
    assert "t-SNE" in text
    assert page.count("<circle") == 80


def test_a_sweep_is_a_table_and_a_curve(tmp_path: Path, page: str) -> None:
    assert "Quality over dimensions" not in page
    swept = report(tmp_path, swept=True)
    text = "".join(Page(swept).text)
    assert "Quality over dimensions" in swept
    for word in ("neighbours@5", "16", "32", "40 (raw)", "variance kept"):
        assert word in text, word
    assert swept.count("<polyline") == 5


@pytest.mark.parametrize("error", [PictureError("truncated", "cut"), FileNotFoundError()], ids=["unreadable", "gone"])
def test_a_picture_that_is_gone_leaves_an_empty_frame(tmp_path: Path, error: Exception) -> None:
    def broken(sha256: str) -> np.ndarray:
        raise error

    page = report(tmp_path, pixels=broken)
    assert "<img" not in page
    assert 'class="none"' in page
    Page(page)
