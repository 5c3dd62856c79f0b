import html
import re

import pytest
import requests
from support.shops import Shop
from support.web_goods import GOODS, IDS
from support.web_server import running

from orchestration.serving import ServedShop
from web.application import build_app
from web.shop import Options


def get(address: str, path: str = "/", **query: object) -> requests.Response:
    return requests.get(f"{address}{path}", params=query, timeout=30)


def names(answer: requests.Response) -> list[str]:
    return [html.unescape(name) for name in re.findall(r'<bdi class="name">(.*?)</bdi>', answer.text)]


def count(answer: requests.Response) -> str:
    found = re.search(r'id="count">(.*?)<', answer.text)
    assert found is not None
    return found[1]


def test_all_products_are_listed_by_name_with_facets_and_counts(served: str) -> None:
    answer = get(served)
    assert names(answer) == sorted((name for name, *_ in GOODS.values()), key=str.casefold)
    said = re.sub(r"<[^>]+>|\s+", " ", answer.text)
    assert re.search(r"Category +Kitchen +4 +Hall +3", said)
    assert "Ghost" not in answer.text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "CHAIR oak"}, ["Oak chair"]),
        ({"q": "yogurt"}, [GOODS["yogurt-bottle"][0]]),
        ({"q": "%2F"}, [GOODS["beer-glass"][0]]),
        ({"is.category": ["Office", "Nursery"]}, ["Drawing table", "Teddy bear"]),
        ({"is.category": "kitchen", "max.price": "7"}, [GOODS["beer-glass"][0], GOODS["yogurt-bottle"][0]]),
        ({"min.price": "100", "max.price": "200"}, ["Drawing table"]),
        ({"where": "category = Hall and price < 20"}, ["Box", "Slippers"]),
        ({"where": "category = Hall or price = 25", "min.price": "20"}, ["Bootie", "Teddy bear"]),
    ],
)
def test_products_are_found_by_name_id_attributes_and_filter(
    served: str, query: dict[str, object], expected: list[str]
) -> None:
    assert names(get(served, **query)) == expected


def test_a_value_keeps_its_count_while_another_of_its_attribute_is_picked(served: str) -> None:
    said = re.sub(r"<[^>]+>|\s+", " ", get(served, **{"is.category": "Hall"}).text)
    assert re.search(r"Category +Kitchen +4 +Hall +3", said)


def test_everything_that_was_picked_can_be_taken_away_alone(served: str) -> None:
    answer = get(served, q="chair", **{"is.category": "Kitchen", "max.price": "50"})
    links = [html.unescape(link) for link in re.findall(r'class="chip on" href="(.*?)"', answer.text)]
    assert links == [
        "/?is.category=Kitchen&max.price=50",
        "/?q=chair&max.price=50",
        "/?q=chair&is.category=Kitchen",
    ]


def test_a_page_that_is_past_the_end_says_so(served: str) -> None:
    answer = get(served, start=60)
    assert (answer.status_code, names(answer)) == (200, [])
    assert "There are no more products here." in answer.text


def test_pages_follow_one_another_without_a_script(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.pages.shop._COUNT", 4)
    first = get(served)
    assert (len(names(first)), "1–4 of 11" in first.text) == (4, True)
    more = re.search(r'rel="next" href="(.*?)"', first.text)
    assert more is not None
    second = get(served, html.unescape(more[1]))
    assert names(first) + names(second) == names(get(served, start=0))[:4] + names(get(served, start=4))
    assert 'rel="prev" href="/"' in second.text


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ({"class": "Chairz"}, 400, "Chair"),
        ({"is.colour": "red"}, 404, "No product has the attribute &#39;colour&#39;"),
        ({"min.price": "cheap"}, 400, "needs a number"),
        ({"where": "price <"}, 400, "at its end"),
        ({"start": "-1"}, 400, "Start: Input should be greater"),
        ({f"is.a{number}": "b" for number in range(101)}, 400, "at most 100 conditions"),
        ({"q": "x " * 251}, 400, "The parameter q has 502 characters; at most 500 are read"),
        ({"class": "x" * 201}, 400, "The parameter class has 201 characters; at most 200 are read"),
        ({"is.<img src=x onerror=alert(1)>": "b"}, 404, "&lt;img src=x onerror=alert(1)&gt;"),
    ],
)
def test_what_cannot_be_asked_is_told_on_a_page(served: str, query: dict[str, str], status: int, says: str) -> None:
    answer = get(served, **query)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert says in answer.text
    assert "<img src=x" not in answer.text


def test_a_program_that_asks_for_json_is_told_a_problem(served: str) -> None:
    answer = requests.get(f"{served}/product?id=nix", headers={"Accept": "application/json"}, timeout=30)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_names_and_ids_cannot_become_markup(served: str) -> None:
    for path, query in (
        ("/", {"q": "<script>alert(1)</script>"}),
        ("/product", {"id": IDS["beer-glass"]}),
        ("/why", {"id": "coffee-cup", "result": IDS["beer-glass"]}),
        ("/photo", {"product": IDS["beer-glass"]}),
    ):
        answer = get(served, path, **query)
        assert answer.status_code == 200
        assert re.search(r"<script>|<b>", answer.text) is None
        assert "alert(" in answer.text


def test_nothing_on_a_page_is_inline_or_from_elsewhere(served: str) -> None:
    for path, query in (
        ("/", {}),
        ("/product", {"id": "oak-chair"}),
        ("/why", {"id": "oak-chair", "result": "white-chair"}),
        ("/photo", {"product": "technical-table"}),
    ):
        text = get(served, path, **query).text
        assert re.findall(r"\s(?:style|on\w+)=", text) == []
        assert re.findall(r'(?:src|srcset|action|<link[^>]+href)="(?!/)[^"]', text) == []


def test_files_are_kept_by_what_they_hold(served: str) -> None:
    style = re.search(r'href="(/static/\w+/vetrina.css)"', get(served).text)
    assert style is not None
    answer = get(served, style[1])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in answer.headers["cache-control"]
    old = get(served, "/static/0123456789ab/vetrina.css")
    assert (old.text, old.headers["cache-control"]) == (answer.text, "no-cache")
    plain = requests.get(f"{served}{style[1]}", headers={"Accept-Encoding": "identity"}, timeout=30)
    assert "content-encoding" not in plain.headers and plain.text == answer.text
    assert get(served, "/static/0123456789ab/..%2Fshop.py").status_code == 404


def test_behind_a_prefix_every_link_has_it(web_shop: Shop) -> None:
    shop = ServedShop(web_shop.deployment)
    with running(build_app(shop, Options(prefix="/vetrina"))) as address:
        for path in ("/vetrina/", "/vetrina/product?id=technical-table", "/vetrina/photo?product=technical-table"):
            text = get(address, path).text
            found = re.findall(r'(href|src|srcset|action|data-photo-page)="(.*?)"', text)
            assert [value for _, value in found if not value.startswith(("/vetrina/", "#"))] == []
            links = {html.unescape(value) for kind, value in found if kind in ("href", "src")}
            assert len(links) > 10
            for link in sorted(link for link in links if link.startswith("/")):
                assert get(address, link).status_code == 200, link


def test_an_empty_window_says_how_to_fill_it(shop: Shop) -> None:
    with running(build_app(ServedShop(shop.deployment), Options())) as address:
        answer = get(address)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "There is nothing in the window yet" in answer.text
    assert "vetrina add catalog.csv" in answer.text
