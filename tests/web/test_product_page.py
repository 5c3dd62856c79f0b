import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import requests
from support.fault_server import FaultServer
from support.shops import Shop, rows_of
from support.web_goods import GOODS, IDS
from support.web_server import running

from orchestration.deployment import Deployment
from orchestration.serving import ServedShop
from web.application import build_app
from web.pages.picking import Picked
from web.pages.results import Terms
from web.shop import Options


def get(address: str, path: str = "/product", **query: object) -> str:
    answer = requests.get(f"{address}{path}", params=query, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.text


def names(text: str) -> list[str]:
    return [html.unescape(name) for name in re.findall(r'<bdi class="name">(.*?)</bdi>', text)]


def plain(text: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text)))


def test_a_product_is_shown_with_all_that_is_known_of_it_and_its_likes_in_order(served: str, web_shop: Shop) -> None:
    text = get(served, id="oak-chair")
    assert "<title>Oak chair and what looks like it – Vetrina</title>" in text
    called = {IDS.get(picture, picture): said[0] for picture, said in GOODS.items()}
    assert names(text) == [called[other] for other in web_shop.similar("oak-chair")]
    assert "CategoryLiving roomPrice89.00" in plain(text)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            {"is.category": "Kitchen", "max.price": "10"},
            {"Coffee cup", GOODS["beer-glass"][0], GOODS["yogurt-bottle"][0]},
        ),
        ({"is.category": ["Hall", "Nursery"]}, {"Bootie", "Slippers", "Box", "Teddy bear"}),
        ({"where": "price > 100"}, {"Drawing table", "Television"}),
        ({"k": "1"}, None),
    ],
)
def test_likes_are_narrowed_before_they_are_counted(
    served: str, query: dict[str, object], expected: set[str] | None
) -> None:
    found = names(get(served, id="oak-chair", **query))
    assert len(found) == len(expected or [1])
    assert expected is None or set(found) == expected


def test_fewer_than_were_asked_for_is_said(served: str) -> None:
    assert "These are all: 2 products fit what was picked." in plain(get(served, id="oak-chair", where="price > 100"))
    assert "Nothing in the shop fits what was picked." in plain(get(served, id="oak-chair", where="price > 1000"))


def test_comparing_with_everything_says_what_the_index_misses(served: str) -> None:
    assert "Compared with all 10 products. The index misses none of these." in plain(
        get(served, id="oak-chair", exact="1")
    )
    assert "Compared with all" not in get(served, id="oak-chair")


class Form(HTMLParser):
    """What a browser sends when a form is left as it is.

    Attributes:
        sent: names and values; those that are empty say nothing.
    """

    def __init__(self, text: str, name: str) -> None:
        super().__init__()
        self.sent: list[tuple[str, str]] = []
        self._name, self._within, self._select, self._chosen = name, False, "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._within = self._name in (has.get("id"), has.get("class"))
        elif tag == "select":
            self._select, self._chosen = has["name"], ""
        elif tag == "option" and "selected" in has:
            self._chosen = has["value"]  # the last one that is selected is sent, and no other
        elif tag == "input" and (has["type"] != "checkbox" or "checked" in has):
            self._add(has["name"], "" if has["type"] == "number" and not _is_number(has["value"]) else has["value"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._add(self._select, self._chosen)

    def _add(self, name: str, value: str) -> None:
        if self._within and value:
            self.sent.append((name, value))


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


PICKED = [
    [("is.category", "Kitchen"), ("is.category", "Hall")],
    [("is.category", "kitchen")],
    [("is.category", "Gone"), ("min.price", "5"), ("max.price", "EUR 10")],
    [("is.price", "35"), ("class", "Furniture")],
    [("min.category", "1"), ("where", "price > 1")],
]


@pytest.mark.parametrize("query", PICKED)
def test_a_form_that_is_left_as_it_is_asks_for_the_same_again(served: str, query: list[tuple[str, str]]) -> None:
    likes = Form(get(served, id="oak-chair", **_several(query)), "narrow")
    assert sorted(likes.sent) == sorted([*query, ("id", "oak-chair"), ("k", "12")])
    shop = Form(get(served, "/", q="a", **_several(query)), "spans")
    assert sorted(shop.sent) == sorted([*query, ("q", "a")])


def _several(query: list[tuple[str, str]]) -> dict[str, list[str]]:
    return {name: [value for other, value in query if other == name] for name, _ in query}


def test_what_was_detected_is_outlined_and_leads_to_a_search_by_it(served: str) -> None:
    text = get(served, id="technical-table")
    chips = [html.unescape(link) for link in re.findall(r'class="chip" data-part="\d" href="(.*?)"', text)]
    assert len(chips) >= 1
    outlines = [html.unescape(link) for link in re.findall(r'<a tabindex="-1" data-part="\d" href="(.*?)"', text)]
    assert sorted(outlines) == sorted(chips)
    for link in chips:
        assert re.fullmatch(r"/photo\?product=technical-table&box=[\d.%C]+", link)
        assert "Drawing table" not in names(get(served, link))


def test_a_result_that_a_part_matched_has_it_outlined(served: str, web_shop: Shop) -> None:
    window = web_shop.deployment.window()
    found = window.similar("technical-table", 12).answer.neighbours
    cropped = [other for other in found if other.item.kind == "crop"]
    assert cropped
    text = get(served, id="technical-table")
    assert text.count('class="drawn"') == len(cropped)
    assert plain(text).count("on it matched") == len(cropped)


def test_why_says_what_matched_where_it_stands_and_where_it_comes_from(served: str, web_shop: Shop) -> None:
    second = web_shop.similar("oak-chair")[1]
    text = plain(get(served, "/why", id="oak-chair", result=second))
    assert "Of 10 products, 1 looks more like it." in text
    assert "goods.csv, line 2" in text
    for said in ("Index", "Vectors", "Extractor", "Detector", "Picturehttp://127.0.0.1:"):
        assert said in text
    assert "Nothing else in the shop looks more like it." in plain(
        get(served, "/why", id="oak-chair", result=web_shop.similar("oak-chair")[0])
    )


def test_why_a_product_looks_like_itself_is_not_answered(served: str) -> None:
    answer = requests.get(f"{served}/why", params={"id": "box", "result": "box"}, timeout=30)
    assert answer.status_code == 404
    assert "is the query itself" in answer.text


def test_the_same_picture_again_is_a_quiet_line_and_long_names_and_none_are_shown(
    shop: Shop, server: FaultServer
) -> None:
    long = "Chair " * 160 + "end"
    rows = rows_of(server, ["oak-chair", "white-chair", "box"])
    rows.append({**rows[0], "id": "oak-chair-2", "name": long})
    rows.append({**rows[1], "id": "white-chair-2"})
    shop.add(shop.catalog("goods", rows))
    with running(build_app(ServedShop(shop.deployment), Options())) as address:
        text = get(address, id="oak-chair")
        assert {name.removesuffix("-2") for name in names(text)} == {"white-chair", "box"}
        assert f"The same picture is also sold as {long.strip()}." in plain(text)
        assert re.search(r"Also sold as white-chair(-2)?", plain(text))
        both = get(address, id="oak-chair", duplicates="1")
        assert len(names(both)) == 4
        assert long in plain(get(address, id="oak-chair-2"))


@pytest.mark.parametrize(
    ("hide", "ticked", "hidden"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_near_duplicates_are_left_out_of_a_page_where_the_shop_does_so(
    web_shop: Shop, hide: bool, ticked: bool, hidden: bool
) -> None:
    shop = ServedShop(Deployment(replace(web_shop.deployment.settings, hide_duplicates=hide)))
    assert Terms(k=12, duplicates=ticked, exact=False).conditions(shop, Picked()).distinct is hidden
    with running(build_app(shop, Options())) as address:
        page = requests.get(f"{address}/product", params={"id": "box"}, timeout=30).text
    assert ('name="duplicates"' in page) is hide
