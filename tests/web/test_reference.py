"""The API's page: what it shows works when it is copied."""

import shlex
from html import unescape
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Browser
from support.web_browser import look, opened

from web.pages.reference import chapters_of


@pytest.fixture(scope="module")
def lines(served: str) -> list[str]:
    """The commands of the page."""
    page = requests.get(f"{served}/api", timeout=30)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    return [unescape(part.partition("</code>")[0]) for part in page.text.split('aria-label="Command"><code>')[1:]]


def test_every_route_is_shown_with_a_command(served: str, lines: list[str]) -> None:
    document = requests.get(f"{served}/api/v1/openapi.json", timeout=30).json()
    shown = {urlsplit(shlex.split(line)[-1]).path for line in lines}
    for path in document["paths"]:
        assert any(one.startswith(path.partition("{")[0]) for one in shown), path
    chapters = chapters_of(document, served, {})
    assert sum(len(chapter.operations) for chapter in chapters) == sum(map(len, document["paths"].values()))


def test_commands_that_read_work_as_they_stand(lines: list[str]) -> None:
    reading = [found for line in lines if len(found := shlex.split(line)) == 2]
    assert len(reading) > 10
    for command, address in reading:
        assert command == "curl"
        if "%E2%80%A6" not in address:  # what only the reader can fill in
            assert requests.get(address, timeout=30).status_code == 200, address


def test_a_photo_is_sent_in_every_way_there_is(lines: list[str]) -> None:
    sent = [line for line in lines if "/search" in line]
    assert [line.split(" http")[0] for line in sent] == [
        "curl --data-binary @photo.jpg",
        "curl -F photo=@photo.jpg",
        """curl --json '{"url": "https://shop.example/pictures/oak-chair.jpg"}'""",
        """curl --json '{"product_id": "oak-chair"}'""",
    ]


def test_what_needs_the_token_says_so(lines: list[str]) -> None:
    guarded = [line for line in lines if "Authorization" in line]
    assert {urlsplit(shlex.split(line)[-1]).path for line in guarded} == {"/api/v1/retry", "/api/v1/rollback"}
    assert all('-H "Authorization: Bearer $VETRINA_SERVE_TOKEN"' in line for line in guarded)


def test_a_host_that_the_caller_makes_up_cannot_leave_the_quotes(served: str) -> None:
    page = requests.get(f"{served}/api", headers={"Host": "x';rm -rf ~;'<b>"}, timeout=30)
    assert "~;'<b>" not in page.text
    for part in page.text.split('aria-label="Command"><code>')[1:]:
        assert ";" not in shlex.split(unescape(part.partition("</code>")[0]))


def test_the_page_can_be_used_by_all(browser: Browser, served: str) -> None:
    with opened(browser, served) as page:
        page.goto(f"{served}/api")
        look(page, "reference")
