"""The API's page: what it shows works when it is copied."""

import json
import re
import shlex
from html import unescape
from urllib.parse import parse_qs, urlsplit

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
    commands = [shlex.split(line) for line in lines]
    reading = [found for found in commands if found[1:-1] in ([], ["-o", "picture.jpg"])]
    assert len(reading) > 10
    for command, *options, address in reading:
        assert command == "curl"
        if "version=VERSION&name=NAME" not in address:  # this shop has no report
            answer = requests.get(address, timeout=30)
            assert answer.status_code == 200, address
            # curl does not write bytes to a screen.
            assert bool(options) is answer.headers["content-type"].startswith("image/")


def test_every_route_has_an_example_of_its_answer_and_says_what_parameters_may_be(served: str) -> None:
    document = requests.get(f"{served}/api/v1/openapi.json", timeout=30).json()
    operations = [one for chapter in chapters_of(document, served, {}) for one in chapter.operations]
    assert [f"{one.method} {one.path}" for one in operations if not one.answer] == []
    assert [parameter.name for one in operations for parameter in one.parameters if not parameter.takes] == []


def test_the_figures_of_the_example_are_those_that_there_are(served: str) -> None:
    document = requests.get(f"{served}/api/v1/openapi.json", timeout=30).json()
    content = document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    real = requests.get(f"{served}/metrics", timeout=30).text
    shown = [re.split("[ {]", line)[0] for line in content["text/plain"]["example"].splitlines()]
    assert len(shown) > 5
    for name in shown:
        assert re.search(rf"^{name}[ {{]", real, re.MULTILINE), name


def test_a_photo_is_sent_in_every_way_there_is(served: str, lines: list[str]) -> None:
    sent = [line for line in lines if "/search" in line]
    line_for_product = sent[-1].split(" http")[0]
    assert [line.split(" http")[0] for line in sent] == [
        "curl --data-binary @photo.jpg",
        "curl -F photo=@photo.jpg",
        """curl --json '{"url": "https://shop.example/pictures/oak-chair.jpg"}'""",
        line_for_product,
    ]
    asked = json.loads(shlex.split(line_for_product)[2])
    (product,) = (shlex.split(line)[-1] for line in lines if "/api/v1/product?" in line)
    assert [asked["product_id"]] == parse_qs(urlsplit(product).query)["id"]
    assert requests.post(f"{served}/api/v1/search", json=asked, timeout=60).status_code == 200


def test_an_id_is_written_into_a_command_as_it_is(served: str) -> None:
    document = requests.get(f"{served}/api/v1/openapi.json", timeout=30).json()
    strange = "two  spaces, a 'quote' & لبن"
    operations = [
        one for chapter in chapters_of(document, served, {"product_id": strange}) for one in chapter.operations
    ]
    (line,) = [line for one in operations for line in one.lines if "product_id" in line]
    assert json.loads(shlex.split(line)[2]) == {"product_id": strange}


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
