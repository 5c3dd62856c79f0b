from collections.abc import Iterator
from typing import Any

import pytest
import requests
from support.shops import Shop
from support.web_server import running

from orchestration.serving import ServedShop
from web.application import build_app
from web.problems import Problem
from web.server.protection import HEADERS
from web.shop import Options


def test_head_is_answered_as_get_without_its_body(served: str) -> None:
    address = f"{served}/api/v1/product?id=oak-chair"
    asked, got = requests.head(address, timeout=30), requests.get(address, timeout=30)
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["etag"] == got.headers["etag"]
    assert asked.headers["content-length"] == got.headers["content-length"]
    assert requests.head(f"{served}/api/v1/product?id=nobody", timeout=30).status_code == 404


def test_options_names_the_methods(served: str) -> None:
    answer = requests.options(f"{served}/api/v1/similar", timeout=30)
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/v1/similar"), ("GET", "/api/v1/search"), ("DELETE", "/readyz")]
)
def test_another_method_is_a_problem_that_names_the_right_one(served: str, method: str, path: str) -> None:
    answer = requests.request(method, served + path, timeout=30)
    right = "POST" if method == "GET" else "GET"
    assert (answer.status_code, answer.headers["allow"]) == (405, right)
    assert answer.json()["detail"] == f"Use one of these methods: {right}"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v2/similar", "/api/v1/similar/", "/api/v1/../../etc/passwd"])
def test_an_unknown_path_is_a_problem(served: str, path: str) -> None:
    request = requests.Request("GET", served).prepare()
    request.url = served + path  # as it stands, which `requests` would tidy
    answer = requests.Session().send(request, timeout=30, allow_redirects=False)
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:vetrina:problem:not-found"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "id: Field required"),
        ("id=", "id: String should have at least 1 character"),
        ("id=box&clas=Chair", "There is no parameter 'clas' here; did you mean 'class'?"),
        ("id=box&x=1", "There is no parameter 'x' here; there is 'id', 'k'"),
        ("id=box&k=0", "k: Input should be greater than or equal to 1"),
        ("id=box&k=two", "k: Input should be a valid integer"),
        ("id=box&class=Chiar", "did you mean 'Chair'"),
        ("id=box&where=price+<+", "lacks a number at its end"),
        ("id=box&where=" + "(" * 100, "is nested more than 50 deep"),
        ("id=box&min_similarity=0.9", "There is no parameter 'min_similarity' here"),
        ("id=box&where=" + "x" * 10_001, "where: String should have at most 10000 characters"),
    ],
)
def test_a_bad_question_is_told_what_is_wrong(served: str, query: str, said: str) -> None:
    answer = requests.get(f"{served}/api/v1/similar?{query}", timeout=30)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("min_similarity=nan", "min_similarity: "),
        ("min_similarity=2", "min_similarity: Input should be less than or equal to 1"),
    ],
)
def test_a_bad_question_by_photo_is_told_what_is_wrong(served: str, query: str, said: str) -> None:
    answer = requests.post(f"{served}/api/v1/search?{query}", b"", timeout=30)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


def test_a_route_that_takes_no_parameters_says_so(served: str) -> None:
    answer = requests.get(f"{served}/api/v1/coverage?x=1", timeout=30)
    assert (answer.status_code, answer.json()["detail"]) == (400, "There is no parameter 'x' here; there are none")


def test_the_longest_filter_is_read(served: str) -> None:
    where = f"price in ({','.join('15'.zfill(12) for _ in range(768))})"
    answer = requests.get(f"{served}/api/v1/similar", params={"id": "box", "where": where}, timeout=30)
    assert (len(where), answer.status_code) == (9994, 200)
    assert [other["product_id"] for other in answer.json()["similar"]] == ["slippers"]


def test_a_filter_that_keeps_all_products_busy_is_refused(served: str) -> None:
    where = " or ".join(f"price = {number}" for number in range(65))
    for path in ("api/v1/similar", "product"):
        answer = requests.get(f"{served}/{path}", params={"id": "box", "where": where}, timeout=30)
        assert answer.status_code == 400
        assert "The filter has more than 64 conditions" in answer.text


@pytest.fixture
def broken(web_shop: Shop) -> Iterator[str]:
    """A server with routes that fail as nobody expected."""
    app = build_app(ServedShop(web_shop.deployment), Options())

    @app.get("/api/v1/defect")
    async def defect() -> Any:
        raise RuntimeError("the password is 1234")

    @app.get("/defect")
    async def drawn_defect() -> Any:
        raise RuntimeError("the password is 1234")

    @app.get("/api/v1/busy")
    async def too_busy() -> Any:
        raise Problem(503, "busy", "Too many requests wait", "Try again in a second", headers={"Retry-After": "1"})

    with running(app) as address:
        yield address


def test_what_nobody_expected_tells_nothing_of_the_inside(broken: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = requests.get(f"{broken}/api/v1/defect", timeout=30)
    assert answer.json() == {
        "type": "urn:vetrina:problem:defect",
        "title": "Something went wrong here",
        "status": 500,
        "detail": "It was logged; the request may be tried again",
    }
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    page = requests.get(f"{broken}/defect", timeout=30)
    assert (page.status_code, page.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert "1234" not in page.text
    assert "the password is 1234" in caplog.text
    assert 'vetrina_requests_total{method="GET",route="/defect",status="500"} 1.0' in _figures(broken)


def test_who_was_turned_away_is_counted(broken: str) -> None:
    assert requests.get(f"{broken}/api/v1/busy", timeout=30).headers["retry-after"] == "1"
    assert 'vetrina_turned_away_total{why="queue"} 1.0' in _figures(broken)


def _figures(address: str) -> str:
    return requests.get(f"{address}/metrics", timeout=30).text
