"""The operations pages as they are sent, without a browser."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from support.operated_shop import HOSTILE, TOKEN, Operated
from support.shops import Shop
from support.web_server import running

from orchestration.serving import ServedShop
from vetrina.catalog.problems import set_aside
from web.application import build_app
from web.operations.doorkeeper import Doorkeeper
from web.shop import Options

MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def address(operated: Operated) -> Iterator[str]:
    set_aside(operated.shop.deployment.store, f"incoming/{MARKUP}.csv", "watch", f"It says {MARKUP}")
    options = Options(token=TOKEN, prefix="/shop/window", dagster_url="https://dagster.example")
    with running(build_app(ServedShop(operated.shop.deployment), options)) as address:
        yield f"{address}/shop/window"


@pytest.fixture
def browser() -> Iterator[requests.Session]:
    """Sends what a browser would of forms on the server's own pages."""
    with requests.Session() as session:
        session.headers["Sec-Fetch-Site"] = "same-origin"
        yield session


def _sign_in(browser: requests.Session, address: str, token: str = TOKEN, **more: str) -> requests.Response:
    return browser.post(f"{address}/operations/sign-in", {"token": token, **more}, allow_redirects=False, timeout=30)


class _Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def links(self) -> set[str]:
        return {str(values["href"]) for tag, values in self.found if tag == "a"}


def _paths(address: str) -> list[str]:
    batch = requests.get(f"{address}/api/v1/batches", timeout=30).json()["batches"][0]["batch"]
    version = requests.get(f"{address}/api/v1/versions", timeout=30).json()["versions"][-1]["version"]
    pages = ["", "/batches", f"/batch?id={batch}", "/problems", "/versions", f"/version?id={version}", "/reports"]
    return [*pages, f"/batch?id={batch}&reason=fetch_failed: http-404", "/problems?start=100", "/sign-in"]


def test_every_page_is_escaped_and_links_within_the_prefix(address: str) -> None:
    seen = ""
    for path in _paths(address):
        answer = requests.get(f"{address}/operations{path}", timeout=30)
        assert answer.status_code == 200, path
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"  # with none, forms have no origin
        seen += answer.text
        for tag, values in _Elements(answer.text).found:
            assert "style" not in values and not any(name.startswith("on") for name in values), (path, tag)
            assert (tag, values.get("src")) != ("img", "x")
            for name in {"href", "action", "src"} & values.keys():
                inside = str(values[name]).startswith(("/shop/window/", "#")) or values[name] == ""
                assert inside or str(values[name]).startswith("https://dagster.example"), (path, values)
        assert HOSTILE not in answer.text and MARKUP not in answer.text
    for shown in ("&lt;script&gt;", "It says &lt;img", "incoming/&lt;img", "&lt;b&gt;bare"):
        assert shown in seen


def test_figures_of_the_overview_are_those_of_the_api(address: str) -> None:
    found = requests.get(f"{address}/api/v1/coverage", timeout=30).json()
    text = " ".join(re.sub(r"<[^>]+>", " ", requests.get(f"{address}/operations", timeout=30).text).split())
    assert f"{found['searchable']} products of {found['rows']} rows can be found; 3 pictures failed" in text
    for words in (
        "2 picture could not be fetched",
        "1 not a usable picture",
        "2 row rejected",
        "1 replaced by a later row",
        "10 rows in all",
    ):
        assert words in text


def test_pages_lead_to_one_another_and_to_dagster(address: str) -> None:
    links = _Elements(requests.get(f"{address}/operations", timeout=30).text).links()
    batch = requests.get(f"{address}/api/v1/batches", timeout=30).json()["batches"][0]["batch"]
    version = requests.get(f"{address}/api/v1/versions", timeout=30).json()["current"]["version"]
    assert f"/shop/window/operations/batch?id={batch}" in links
    assert f"/shop/window/operations/version?id={version}" in links
    assert "/shop/window/operations/problems?reason=fetch_failed%3A+http-500" in links
    assert "https://dagster.example/assets/similarity_index" in links


def test_a_page_that_is_not_there_says_so(address: str) -> None:
    for path, says in {
        "/batch?id=%3Cb%3E": "There is no batch &#39;&lt;b&gt;&#39;",
        "/version?id=none": "There is no published index version",
    }.items():
        answer = requests.get(f"{address}/operations{path}", timeout=30)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert says in answer.text


def test_signing_in_gives_a_cookie_that_no_script_and_no_other_site_has(
    address: str, browser: requests.Session
) -> None:
    assert "Ask again for" not in browser.get(f"{address}/operations", timeout=30).text
    answer = _sign_in(browser, address)
    assert (answer.status_code, answer.headers["location"]) == (303, "/shop/window/operations?said=signed-in")
    first, *flags = answer.headers["set-cookie"].split("; ")
    assert first.startswith("vetrina_operations=") and TOKEN not in first
    assert {flag.lower() for flag in flags} >= {"httponly", "samesite=strict", "path=/shop/window/operations"}
    page = browser.get(f"{address}/operations?said=signed-in", timeout=30).text
    assert "Ask again for all 3 failed pictures" in page and "You are signed in" in page
    gone = browser.post(f"{address}/operations/sign-out", allow_redirects=False, timeout=30)
    assert (gone.status_code, "Max-Age=0" in gone.headers["set-cookie"]) == (303, True)
    assert "Ask again for" not in browser.get(f"{address}/operations", timeout=30).text


def test_behind_tls_the_cookie_travels_over_tls_only(operated: Operated) -> None:
    app = build_app(ServedShop(operated.shop.deployment), Options(token=TOKEN))
    with running(app, trusted_proxies="127.0.0.1") as address, requests.Session() as browser:
        browser.headers.update({"Sec-Fetch-Site": "same-origin", "X-Forwarded-Proto": "https"})
        assert "; Secure" in _sign_in(browser, address).headers["set-cookie"]


def test_a_wrong_token_is_said_and_never_repeated(address: str, browser: requests.Session) -> None:
    answer = _sign_in(browser, address, "wrong-and-not-shown")
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "The token is not that of VETRINA_SERVE_TOKEN" in answer.text
    assert "wrong-and-not-shown" not in answer.text


def test_after_signing_in_the_version_that_was_chosen_is_shown_and_nothing_else(
    address: str, browser: requests.Session
) -> None:
    version = requests.get(f"{address}/api/v1/versions", timeout=30).json()["versions"][-1]["version"]
    sent = browser.get(f"{address}/operations/rollback?to={version}", allow_redirects=False, timeout=30)
    assert sent.status_code == 303
    target = urlsplit(sent.headers["location"])
    assert target.path == "/shop/window/operations/sign-in"
    assert parse_qs(target.query)["to"] == [version]
    assert f'name="to" value="{version}"' in browser.get(f"{address}{target.path[12:]}?{target.query}", timeout=30).text
    for to in (version, "//evil.example/", "https://evil.example"):
        location = _sign_in(browser, address, to=to).headers["location"]
        assert location.startswith("/shop/window/operations/rollback?to=")
    confirm = browser.get(f"{address}/operations/rollback?to={version}", timeout=30)
    assert f'Serve version <span class="name-code">{version}</span> again?' in confirm.text
    assert "The next publication makes the newest batches current" in confirm.text


def test_what_is_served_already_cannot_be_chosen(address: str, browser: requests.Session) -> None:
    _sign_in(browser, address)
    version = requests.get(f"{address}/api/v1/versions", timeout=30).json()["current"]["version"]
    answer = browser.get(f"{address}/operations/rollback?to={version}", timeout=30)
    assert answer.status_code == 404
    assert "is served already" in answer.text


FORMS = ["/sign-in", "/sign-out", "/retry", "/rollback"]


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_forms_of_other_origins_are_refused_whoever_is_signed_in(
    address: str, browser: requests.Session, path: str, headers: dict[str, str]
) -> None:
    _sign_in(browser, address)
    del browser.headers["Sec-Fetch-Site"]
    answer = browser.post(f"{address}/operations{path}", {"token": TOKEN}, headers=headers, timeout=30)
    assert answer.status_code == 403
    assert "The form came from elsewhere" in answer.text
    assert requests.get(f"{address}/api/v1/retry", timeout=30).json()["state"] == "none"


def test_a_browser_that_tells_only_the_origin_is_heard(address: str) -> None:
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(address))
    for headers in ({"Origin": origin}, {"Origin": origin.replace("http:", "https:")}):  # TLS ended at a proxy
        with requests.Session() as browser:
            browser.headers.update(headers)
            assert _sign_in(browser, address).status_code == 303


@pytest.mark.parametrize("path", ["/retry", "/rollback"])
def test_without_a_session_nothing_changes(address: str, browser: requests.Session, path: str) -> None:
    before = requests.get(f"{address}/api/v1/versions", timeout=30).json()["total"]
    for session in (None, "1.2", Doorkeeper("another-token-of-this").session()):
        cookies = {} if session is None else {"vetrina_operations": session}
        answer = browser.post(f"{address}/operations{path}", cookies=cookies, allow_redirects=False, timeout=30)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/shop/window/operations/sign-in?said=sign-in-first"
    assert requests.get(f"{address}/api/v1/retry", timeout=30).json()["state"] == "none"
    assert requests.get(f"{address}/api/v1/versions", timeout=30).json()["total"] == before


def test_a_session_does_not_open_the_api(address: str, browser: requests.Session) -> None:
    _sign_in(browser, address)
    cookies = dict(browser.cookies)
    assert browser.post(f"{address}/api/v1/retry", cookies=cookies, timeout=30).status_code == 401


def test_forms_that_are_too_long_or_no_text_are_refused(address: str, browser: requests.Session) -> None:
    for body, status, says in (
        (b"token=" + b"x" * 20_000, 413, "The form is too long"),
        (b"token=\xff", 400, "The form cannot be understood"),
        (b"&".join(b"a=1" for _ in range(30)), 400, "The form cannot be understood"),
    ):
        answer = browser.post(f"{address}/operations/sign-in", body, timeout=30)
        assert (answer.status_code, says in answer.text) == (status, True)


def test_without_a_token_the_pages_are_read_only_and_say_how_to_change_that(
    served: str, browser: requests.Session
) -> None:
    page = browser.get(f"{served}/operations", timeout=30).text
    assert "Read-only" in page and "start the server with VETRINA_SERVE_TOKEN" in page
    assert not [values for tag, values in _Elements(page).found if values.get("method") == "post"]
    assert "This server is read-only" in browser.get(f"{served}/operations/sign-in", timeout=30).text
    for path in ("/sign-in", "/retry", "/rollback"):
        answer = browser.post(f"{served}/operations{path}", {"token": ""}, timeout=30)
        assert answer.status_code == 403


def test_a_shop_without_anything_has_pages_that_say_what_to_do(shop: Shop, tmp_path: Path) -> None:
    with running(build_app(ServedShop(shop.deployment), Options(token=TOKEN))) as address:
        for path, says in {
            "": "No catalog has come yet",
            "/batches": "No catalog has come yet",
            "/problems": "There are none",
            "/versions": "No index is published yet",
            "/reports": "Materialize the asset",
        }.items():
            answer = requests.get(f"{address}/operations{path}", timeout=30)
            assert (answer.status_code, says in answer.text) == (200, True), answer.text
        refused = requests.post(
            f"{address}/api/v1/rollback", json={}, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30
        )
        assert refused.status_code == 404
        assert refused.json()["detail"] == "No index is published, so there is nothing to roll back"
