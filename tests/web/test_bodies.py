"""No body is read without a bound, whoever sends it."""

import json
import socket
import time
from collections.abc import Iterator

import pytest
import requests
from fastapi.routing import iter_route_contexts
from support.shops import Shop
from support.web_server import running

from orchestration.serving import ServedShop
from web.application import build_app
from web.shop import Options

TOKEN = "a token that nobody guesses"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def address(web_shop: Shop) -> Iterator[str]:
    with running(build_app(ServedShop(web_shop.deployment), Options(token=TOKEN))) as address:
        yield address


def test_no_route_leaves_its_body_to_the_framework(web_shop: Shop) -> None:
    app = build_app(ServedShop(web_shop.deployment), Options())
    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    posts = [route for route in routes if "POST" in (getattr(route, "methods", None) or ())]
    assert len(posts) >= 6
    assert [route for route in routes if getattr(route, "body_field", None) is not None] == []


@pytest.mark.parametrize(("headers", "status"), [({}, 401), (BEARER, 413)], ids=["stranger", "owner"])
def test_an_order_that_is_too_long_is_refused(address: str, headers: dict[str, str], status: int) -> None:
    order = json.dumps({"to": "x" * 20_000})
    answer = requests.post(f"{address}/api/v1/rollback", order, headers=headers, timeout=30)
    assert answer.status_code == status


@pytest.mark.parametrize("order", ["", "no json", "[]", '{"to": 7}'])
def test_an_order_that_is_none_is_told_so(address: str, order: str) -> None:
    answer = requests.post(f"{address}/api/v1/rollback", order, headers=BEARER, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:vetrina:problem:bad-request"


@pytest.mark.parametrize("path", ["/api/v1/rollback", "/operations/sign-in"])
def test_whoever_hangs_up_in_an_order_or_a_form_is_no_defect(
    address: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    def answered() -> dict[str, float]:
        """How many requests there were with each status."""
        text = requests.get(f"{address}/metrics", timeout=30).text
        start = f'vetrina_requests_total{{method="POST",route="{path}",status="'
        found = [line.removeprefix(start).split('"} ') for line in text.splitlines() if line.startswith(start)]
        return {status: float(count) for status, count in found}

    before = answered()
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as gone:
        head = f"POST {path} HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {TOKEN}\r\nSec-Fetch-Site: same-origin\r\n"
        gone.sendall(f"{head}Content-Length: 9\r\n\r\n{{".encode())
        time.sleep(0.1)  # so that it is being read
    until = time.monotonic() + 20
    while (after := answered()) == before:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert after == {**before, "400": before.get("400", 0) + 1}
    assert caplog.text == ""


def test_an_order_that_comes_too_slowly_is_given_up(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.bodies.SECONDS", 0.2)
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as slow:
        head = f"POST /api/v1/rollback HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {TOKEN}\r\n"
        slow.sendall(f"{head}Content-Length: 9\r\n\r\n{{".encode())
        assert slow.recv(65536).startswith(b"HTTP/1.1 408 ")
