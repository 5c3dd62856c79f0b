"""Who sends slowly, much, or nonsense is told so and cannot keep others from being served."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests
from support.shops import Shop
from support.web_server import running

from orchestration.serving import ServedShop
from vetrina.errors import SettingError
from web.application import build_app
from web.server.listening import Limits, bind
from web.shop import Options

HEAD = b"GET /healthz HTTP/1.1\r\nHost: shop\r\n"
QUICK = Limits(connections=4, head_seconds=0.4, idle_seconds=0.4, write_seconds=0.4)


@pytest.fixture(scope="module")
def guarded(web_shop: Shop) -> Iterator[str]:
    """A server of little patience."""
    with running(build_app(ServedShop(web_shop.deployment), Options()), QUICK) as address:
        yield address


def connected(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def rest(connection: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    found = b""
    while part := connection.recv(65536):
        found += part
    return found


def told(answer: bytes) -> dict[str, object]:
    """The problem in a raw answer, which is the last of its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"connection: close" in lines
    assert b"content-type: application/problem+json" in lines
    assert b"x-content-type-options: nosniff" in lines
    problem: dict[str, object] = json.loads(body)
    assert f"HTTP/1.1 {problem['status']} ".encode() in head
    return problem


def lives(address: str) -> bool:
    return requests.get(f"{address}/healthz", timeout=20).status_code == 200


def test_a_head_that_comes_byte_by_byte_is_given_up(guarded: str) -> None:
    with connected(guarded) as slow:
        slow.sendall(HEAD)
        problem = told(rest(slow))
    assert (problem["status"], problem["type"]) == (408, "urn:vetrina:problem:too-slow")


def test_dripping_does_not_gain_time(guarded: str) -> None:
    with connected(guarded) as slow:
        began = time.monotonic()
        sent = 0
        with pytest.raises(OSError):
            for byte in HEAD * 1000:
                slow.sendall(bytes([byte]))
                sent += 1
                time.sleep(0.02)
        assert sent < len(HEAD) * 1000
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("before", [b"", HEAD + b"\r\n", HEAD + b"\r\n\r\n\r\n"], ids=["nothing", "one", "blank lines"])
def test_whoever_says_nothing_is_hung_up_on(guarded: str, before: bytes) -> None:
    with connected(guarded) as silent:
        silent.sendall(before)
        assert (b"alive" in rest(silent)) is bool(before)


def test_a_body_that_nobody_reads_does_not_keep_the_connection(guarded: str) -> None:
    with connected(guarded) as sender:
        sender.sendall(b"POST /nothing HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000000\r\n\r\n")
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.05):
                try:
                    sender.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert b" 404 " in sender.recv(65536)
            while True:
                try:
                    if not sender.recv(65536):
                        break
                except ConnectionResetError:
                    break
        finally:
            stop.set()
            thread.join()


def test_whoever_does_not_read_is_hung_up_on(web_shop: Shop) -> None:
    app = build_app(ServedShop(web_shop.deployment), Options())

    @app.get("/large")
    async def large() -> str:
        return "x" * (64 << 20)

    with running(app, QUICK) as address, connected(address) as lazy:
        lazy.sendall(b"GET /large HTTP/1.1\r\nHost: shop\r\n\r\n")
        until = time.monotonic() + 20
        while "vetrina_requests_in_flight 2.0" in requests.get(f"{address}/metrics", timeout=20).text or not _ended(
            address
        ):
            assert time.monotonic() < until
            time.sleep(0.05)


def _ended(address: str) -> bool:
    return 'route="/large"' in requests.get(f"{address}/metrics", timeout=20).text


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /?" + b"x" * (QUICK.url_bytes + 1), 414),
        (HEAD + b"X: " + b"x" * (QUICK.header_bytes + 1) + b"\r\n\r\n", 431),
        (HEAD + b"X: 1\r\n" * QUICK.header_bytes + b"\r\n", 431),
        (HEAD + b"X: " + b"x" * (QUICK.url_bytes + QUICK.header_bytes + 1), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        (b"GET nowhere HTTP/1.1\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: shop\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ],
    ids=["url", "header", "headers", "endless", "tls", "no path", "bytes", "lengths", "smuggling"],
)
def test_what_is_no_fair_request_is_refused(guarded: str, request_: bytes, status: int) -> None:
    with connected(guarded) as sender:
        sender.sendall(request_)
        assert told(rest(sender))["status"] == status
    assert lives(guarded)


def test_an_answer_under_way_is_sent_before_nonsense_is_refused(guarded: str) -> None:
    with connected(guarded) as sender:
        sender.sendall(b"GET /api/v1/products HTTP/1.1\r\nHost: shop\r\n\r\n\x00\x01\x02\r\n\r\n")
        answer = rest(sender)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["total"] == 11


def test_who_is_one_too_many_is_told_to_come_back(web_shop: Shop) -> None:
    with ExitStack() as stack:
        app = build_app(ServedShop(web_shop.deployment), Options())
        few = stack.enter_context(running(app, Limits(connections=QUICK.connections)))
        callers = stack.enter_context(ExitStack())
        for _ in range(QUICK.connections):
            callers.enter_context(connected(few))
        time.sleep(0.05)  # they are accepted one after another
        late = callers.enter_context(connected(few))
        late.sendall(HEAD + b"\r\n")
        answer = rest(late)
        assert told(answer)["type"] == "urn:vetrina:problem:busy"
        assert b"retry-after: 1" in answer.lower()
        callers.close()
        until = time.monotonic() + 20
        while not lives(few):
            assert time.monotonic() < until
        figures = requests.get(f"{few}/metrics", timeout=20).text
        assert re.search(r'vetrina_turned_away_total\{why="connections"\} [1-9]', figures)


def test_a_port_that_is_taken_is_named() -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingError, match=rf"Nothing can listen at 127.0.0.1, port {port} \(.*\); choose others"):
            bind("127.0.0.1", port)


def test_a_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(SettingError, match=r"Nothing can listen at no\.such\.host\.invalid, port 0"):
        bind("no.such.host.invalid", 0)
