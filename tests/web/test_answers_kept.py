"""Answers are made once for each state of the shop, and not sent to whoever has them."""

import re

import pytest
import requests
from support.shops import Shop
from support.web_server import running

from orchestration.serving import ServedShop
from web.application import build_app
from web.sending import names
from web.shop import Options

SIMILAR = "/api/v1/similar?id=oak-chair&k=2"


def test_whoever_has_an_answer_is_told_that_it_is_unchanged(served: str) -> None:
    first = requests.get(served + SIMILAR, timeout=30)
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    again = requests.get(served + SIMILAR, headers={"If-None-Match": tag}, timeout=30)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = requests.get(served + SIMILAR.replace("k=2", "k=3"), headers={"If-None-Match": tag}, timeout=30)
    assert (other.status_code, other.json()["available"]) == (200, 10)


@pytest.mark.parametrize(
    "path", ["/api/v1/explain?id=oak-chair&result=box", "/api/v1/products", "/api/v1/product?id=box"]
)
def test_every_answer_of_the_shop_is_tagged(served: str, path: str) -> None:
    tag = requests.get(served + path, timeout=30).headers["etag"]
    assert requests.get(served + path, headers={"If-None-Match": f'"x", W/{tag}'}, timeout=30).status_code == 304


def test_an_answer_is_made_once(served: str) -> None:
    asked = f"{served}/api/v1/similar?id=slippers&k=4"
    first = requests.get(asked, timeout=30).content
    before = _from_cache(served)
    assert requests.get(asked, timeout=30).content == first
    assert _from_cache(served) == before + 1


def test_what_is_kept_of_a_long_question_is_short(web_shop: Shop) -> None:
    app = build_app(ServedShop(web_shop.deployment), Options())
    with running(app) as address:
        asked = {"id": "box", "k": "1", "where": f"price in ({','.join(['12'] * 3000)})"}
        assert requests.get(f"{address}/api/v1/similar", params=asked, timeout=30).status_code == 200
        answers = app.state.house.showcase.now.answers
        assert [len(key) for key in answers._values] == [32]


def test_problems_are_not_kept(served: str) -> None:
    for _ in range(2):
        answer = requests.get(f"{served}/api/v1/product?id=nobody", timeout=30)
        assert answer.status_code == 404
        assert "etag" not in answer.headers


@pytest.mark.parametrize(
    ("header", "named"),
    [(None, False), ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("a", False)],
)
def test_a_tag_is_found_among_those_that_are_named(header: str | None, named: bool) -> None:
    assert names(header, '"a"') is named


def _from_cache(served: str) -> float:
    text = requests.get(f"{served}/metrics", timeout=30).text
    found = re.search(r"^vetrina_answers_from_cache_total (\S+)$", text, re.MULTILINE)
    assert found is not None
    return float(found[1])
