"""Photos of strangers who mean no good, or know no better: each is told what is wrong, and the server answers on."""

import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from fastapi import FastAPI
from support import hostile
from support.shops import Shop
from support.web_server import running

from orchestration.serving import ServedShop
from vetrina.search.window import Photo, PhotoQuery, ShopWindow
from web.application import build_app
from web.photos.uploads import Patience
from web.shop import Options

LIMIT = 1_500_000
NARROW = Options(
    most_upload_bytes=LIMIT,
    most_waiting=2,
    refresh_seconds=60,
)
FORM = "multipart/form-data; boundary=cut"
PART = b'--cut\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n'


@pytest.fixture(scope="module")
def application(web_shop: Shop) -> FastAPI:
    return build_app(ServedShop(web_shop.deployment), NARROW)


@pytest.fixture(scope="module")
def narrow(application: FastAPI) -> Iterator[str]:
    """A server that takes little."""
    with running(application) as address:
        yield address


@pytest.fixture(autouse=True)
def _lives_on(application: FastAPI, narrow: str, product_pictures: dict[str, bytes]) -> Iterator[None]:
    """After whatever happened, the next one is served, and all memory is given back."""
    room = application.state.house.room
    free = room.left
    yield
    answer = post(narrow, product_pictures["box"])
    assert answer.status_code == 200 and answer.json()["similar"][0]["product_id"] == "box"
    until(lambda: room.left == free)


def until(true: Callable[[], bool]) -> None:
    given_up = time.monotonic() + 20
    while not true():
        assert time.monotonic() < given_up
        time.sleep(0.005)


def post(address: str, body: Any, media: str = "image/png", **more: Any) -> requests.Response:
    return requests.post(f"{address}/api/v1/search", data=body, headers={"Content-Type": media}, timeout=60, **more)


def told(answer: requests.Response) -> tuple[int, str]:
    """Status and the problem's kind."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def connected(address: str, head: bytes) -> socket.socket:
    """A connection whose request has a head and no body yet."""
    host, port = address.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(b"POST /api/v1/search HTTP/1.1\r\nHost: shop\r\nContent-Type: image/png\r\n" + head + b"\r\n")
    return connection


def answer_of(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """The answer on a connection that stays open as far as the caller is concerned."""
    found = b""
    while b"\r\n\r\n" not in found:
        part = connection.recv(65536)
        assert part, found
        found += part
    head, _, body = found.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1]), json.loads(body)


def test_what_is_no_usable_picture_is_told_why(narrow: str, product_pictures: dict[str, bytes]) -> None:
    sound = product_pictures["oak-chair"]
    for data, reason in (
        (hostile.truncated_jpeg(sound), "truncated"),
        (hostile.many_scans(sound), "too-many-scans"),
        (hostile.png_bomb(), "too-many-pixels"),
        (hostile.tiny_png(), "too-small"),
        (b"<html><script>alert(1)</script></html>", "not-a-picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "unsupported-format"),
        (b"%PDF-1.7 " + bytes(100), "unsupported-format"),
        (sound[:60] + bytes(5000) + sound[-12:], "damaged"),
        (bytes(5000), "not-a-picture"),
    ):
        answer = post(narrow, data)
        assert told(answer) == (422, "picture")
        assert answer.json()["reason"] == reason
        assert "<script>" not in answer.text


def test_a_picture_that_is_a_page_too_is_searched_with_and_never_sent_back(
    narrow: str, product_pictures: dict[str, bytes]
) -> None:
    answer = post(narrow, hostile.page_and_jpeg(product_pictures["oak-chair"]), "image/jpeg")
    assert answer.status_code == 200 and answer.json()["similar"][0]["product_id"] == "oak-chair"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "polyglot" not in answer.text


def test_a_body_that_says_it_is_too_large_is_refused_unread(narrow: str) -> None:
    for length in (LIMIT + 1, 1 << 40, int("9" * 18)):
        with connected(narrow, b"Content-Length: %d\r\n" % length) as connection:
            status, problem = answer_of(connection)
        assert (status, problem["type"]) == (413, "urn:vetrina:problem:too-large")
        assert "1,500,000 bytes" in problem["detail"]


def test_a_body_that_does_not_say_how_large_it_is_is_refused_at_the_limit(narrow: str) -> None:
    with connected(narrow, b"Transfer-Encoding: chunked\r\n") as connection:
        connection.sendall(b"%x\r\n" % (LIMIT + 1) + bytes(LIMIT + 1) + b"\r\n")  # and no end
        status, problem = answer_of(connection)
    assert (status, problem["type"]) == (413, "urn:vetrina:problem:too-large")


def test_who_sends_on_after_the_refusal_still_reads_it(narrow: str) -> None:
    assert told(post(narrow, bytes(5 * LIMIT))) == (413, "too-large")
    assert told(post(narrow, iter([bytes(LIMIT)] * 5))) == (413, "too-large")
    wrong = requests.post(f"{narrow}/api/v1/search?k=0", data=iter([bytes(LIMIT)] * 5), timeout=60)
    assert told(wrong) == (400, "bad-request")
    assert wrong.headers["connection"] == "close"


def test_a_form_may_not_be_larger_either(narrow: str) -> None:
    assert told(post(narrow, None, None, files={"photo": bytes(LIMIT + 1)})) == (413, "too-large")  # type: ignore[arg-type]
    assert told(post(narrow, None, None, files={"other": bytes(2 * LIMIT)})) == (413, "too-large")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def hurried(web_shop: Shop) -> Iterator[str]:
    """A server that does not wait long for a body."""
    patience = Patience(seconds=30, grace=0.5, pace=20_000.0)
    with running(build_app(ServedShop(web_shop.deployment), replace(NARROW, patience=patience))) as address:
        yield address


def test_a_slow_body_is_given_up_whatever_it_says(hurried: str) -> None:
    for head in (b"Content-Length: 50000\r\n", b"Transfer-Encoding: chunked\r\n"):
        with connected(hurried, head) as connection:
            status, problem = answer_of(connection)
        assert (status, problem["type"]) == (408, "urn:vetrina:problem:too-slow")


def test_dripping_does_not_gain_time(hurried: str) -> None:
    sent: list[int] = []
    with connected(hurried, b"Content-Length: 50000\r\n") as connection:
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.02):
                connection.sendall(b"x")
                sent.append(1)

        dripping = threading.Thread(target=drip)
        dripping.start()
        status, _ = answer_of(connection)
        stop.set()
        dripping.join()
    assert status == 408
    assert 0 < len(sent) < 50_000


def test_a_body_of_good_pace_has_an_end_too() -> None:
    patience = Patience(seconds=10, grace=2, pace=1000)
    assert [patience.allowed(received) for received in (0, 1000, 8000, 10**9)] == [2, 3, 10, 10]


def test_who_hangs_up_costs_nothing(narrow: str, product_pictures: dict[str, bytes]) -> None:
    for _ in range(20):
        with connected(narrow, b"Content-Length: 90000\r\n") as connection:
            connection.sendall(bytes(50_000))
    for _ in range(20):
        data = product_pictures["oak-chair"]
        with connected(narrow, b"Content-Length: %d\r\n" % len(data)) as connection:
            connection.sendall(data)


def test_a_photo_whose_sender_is_gone_is_not_looked_at(
    application: FastAPI, narrow: str, product_pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    go = threading.Event()
    see = ShopWindow.photos

    def held(window: ShopWindow, photos: list[Photo]) -> Any:
        seen.append(len(photos))
        assert go.wait(20)
        return see(window, photos)

    monkeypatch.setattr(ShopWindow, "photos", held)
    room, data = application.state.house.room, product_pictures["oak-chair"]
    free = room.left
    with ThreadPoolExecutor(1) as stranger:
        first = stranger.submit(post, narrow, data)
        until(lambda: seen == [1])
        with connected(narrow, b"Content-Length: %d\r\n" % len(data)) as connection:
            connection.sendall(data)
            until(lambda: room.left == free - 2 * len(data))
        until(lambda: room.left == free - len(data))
        go.set()
        assert first.result().status_code == 200
    assert post(narrow, data).status_code == 200
    assert seen == [1, 1]


def test_what_is_no_form_is_told(narrow: str, product_pictures: dict[str, bytes]) -> None:
    data = product_pictures["oak-chair"]
    whole = PART + data + b"\r\n--cut--\r\n"
    assert post(narrow, whole, FORM).status_code == 200
    for body, media, detail in (
        (whole, "multipart/form-data", "The form names no boundary"),
        (whole, "multipart/form-data; boundary=" + "x" * 300, "The form cannot be read"),
        (whole, FORM + "ter", "The form cannot be read"),
        (PART + data, FORM, "The form is cut off"),
        (PART + data + b"\r\n" + whole, FORM, "The form has several fields 'photo'"),
        (whole.replace(b'name="photo"', b'name="picture"'), FORM, "The form has no field 'photo'"),
        (PART + b"\r\n--cut--\r\n", FORM, "There is no photo in the request"),
        (b"", FORM, "The form is cut off"),
        (b"", "image/png", "There is no photo in the request"),
        (b"--cut\r\n" + b"X: y\r\n" * 5000 + b"\r\n", FORM, "The form cannot be read"),
        (b"--cut\r\nX: " + b"y" * 60_000, FORM, "The form cannot be read"),
    ):
        answer = post(narrow, body, media)
        assert told(answer) == (400, "bad-request"), (media, body[:80])
        assert answer.json()["detail"].startswith(detail)


def test_json_says_an_address_or_a_product_and_nothing_else(narrow: str) -> None:
    for body in (
        *(b"", b"null", b"[]", b"{}", b'"x"', b"{", b"\xff", b"[" * 16_000, b'{"url": 1}', b'{"url": ""}'),
        b'{"url": "http://a.example/", "product_id": "box"}',
        b'{"data": "x"}',
        b'{"product_id": "' + b"x" * 1001 + b'"}',
        b'{"product_id": ' + b"9" * 10_000 + b"}",
    ):
        answer = post(narrow, body, "application/json")
        assert told(answer) == (400, "bad-request"), body[:80]
        assert answer.json()["detail"].startswith("JSON must be")
    assert told(post(narrow, b'"' + bytes(17 << 10), "application/json")) == (413, "too-large")


def test_another_kind_of_body_is_refused(narrow: str) -> None:
    for media in ("text/html", "video/mp4", "application/zip"):
        answer = post(narrow, b"anything", media)
        assert told(answer) == (415, "media-type")
        assert "multipart/form-data" in answer.json()["detail"]


def test_a_flood_is_answered_or_told_to_come_back(narrow: str, product_pictures: dict[str, bytes]) -> None:
    data = product_pictures["oak-chair"]
    with ThreadPoolExecutor(32) as strangers:
        answers = list(strangers.map(lambda _: post(narrow, data), range(96)))
    assert {answer.status_code for answer in answers} == {200, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert told(answer) == (503, "busy") and int(answer.headers["retry-after"]) >= 1


def test_no_more_photos_wait_than_may_wherever_they_wait(
    web_shop: Shop, product_pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.photos.desk._MOST_DECODED", 1)
    data = product_pictures["oak-chair"]
    with running(build_app(ServedShop(web_shop.deployment), NARROW)) as address, ThreadPoolExecutor(32) as strangers:
        statuses = {answer.status_code for answer in strangers.map(lambda _: post(address, data), range(64))}
    assert statuses == {200, 503}


def test_more_bytes_than_there_is_room_for_are_told_to_come_back(
    application: FastAPI, narrow: str, product_pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = product_pictures["oak-chair"]
    with monkeypatch.context() as crowded:
        crowded.setattr(application.state.house.room, "left", len(data) - 1)
        answer = post(narrow, data)
    assert told(answer) == (503, "busy") and answer.json()["title"] == "Too many photos come in"
    assert answer.headers["retry-after"] == "3"


def test_a_poisoned_photo_costs_one_request_also_beside_others(
    narrow: str, product_pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    see = ShopWindow.photos
    calls: list[int] = []

    def poisoned(window: ShopWindow, photos: list[Photo]) -> list[PhotoQuery]:
        calls.append(len(photos))
        if any(photo.part == 77 for photo in photos):
            raise ValueError("poison")
        return see(window, photos)  # type: ignore[return-value]

    monkeypatch.setattr(ShopWindow, "photos_at_once", 8)
    monkeypatch.setattr(ShopWindow, "photos", poisoned)
    data = product_pictures["oak-chair"]
    with ThreadPoolExecutor(3) as strangers:
        while max(calls, default=0) < 2:
            asked = [strangers.submit(post, narrow, data, params=part) for part in ({}, {"object": 77}, {})]
            first, second, third = (one.result() for one in asked)
            assert (first.status_code, third.status_code) == (200, 200)
            assert told(second) == (500, "defect") and "poison" not in second.text


def test_nothing_of_a_photo_is_written_to_a_disk(
    narrow: str, product_pictures: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    large = product_pictures["oak-chair"] + bytes(LIMIT - 100_000)  # a decoder does not mind what comes after the end
    answer = post(narrow, None, None, files={"photo": large, "other": bytes(50_000)})  # type: ignore[arg-type]
    assert answer.status_code == 200 and answer.json()["similar"][0]["product_id"] == "oak-chair"
