"""`vetrina serve` as a process of its own."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from support.commands import VETRINA, refusal
from support.shops import Shop

from vetrina.errors import SettingError
from vetrina.settings import Settings
from web.server.listening import bind


@contextmanager
def serving(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The process, and the address that it says."""
    process = subprocess.Popen(
        [VETRINA, "serve", "--port", "0", *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        said = next(found for line in process.stderr if (found := re.fullmatch(r"Vetrina at (http://\S+)/\n", line)))
        yield process, said[1]
    finally:
        process.kill()
        process.communicate()


def test_requests_under_way_are_finished_when_it_is_told_to_stop(
    web_shop: Shop, product_pictures: dict[str, bytes]
) -> None:
    photo = product_pictures["oak-chair"]
    with serving("--log", "requests", "--prefix", "/shop") as (process, address):
        host, port = address.removeprefix("http://").removesuffix("/shop").split(":")
        answer = _when_it_listens(f"{address}/api/v1/similar?id=oak-chair")
        assert answer.json()["query"]["name"] == "Oak chair"
        with socket.create_connection((host, int(port)), timeout=60) as slow:
            head = f"POST /shop/api/v1/search HTTP/1.1\r\nHost: shop\r\nContent-Length: {len(photo)}\r\n\r\n"
            slow.sendall(head.encode() + photo[:1000])
            _until_in_flight(address)
            process.send_signal(signal.SIGTERM)
            slow.sendall(photo[1000:])
            received = b""
            while part := slow.recv(65536):
                received += part
        assert b"HTTP/1.1 200 OK" in received
        assert b'"because_of":' in received
        output, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output == ""
    assert "Traceback" not in said
    line = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ INFO GET /api/v1/similar 200 \d+\.\d ms\n"
    assert re.search(line, said)
    assert re.search(r"INFO POST /api/v1/search 200 ", said)
    assert "oak-chair" not in said


def _when_it_listens(address: str) -> requests.Response:
    """The first answer: whoever connects before it serves is refused."""
    while True:
        try:
            return requests.get(address, timeout=60)
        except requests.ConnectionError:
            continue


def _until_in_flight(address: str) -> None:
    while "vetrina_requests_in_flight 2.0" not in requests.get(f"{address}/metrics", timeout=60).text:
        continue


def test_without_a_word_nothing_is_logged(web_shop: Shop) -> None:
    with serving() as (process, address):
        assert _when_it_listens(f"{address}/nothing").status_code == 404
        with socket.create_connection(tuple(address.removeprefix("http://").split(":")), timeout=60) as stranger:
            stranger.sendall(b"nonsense\r\n\r\n")
            assert b" 400 " in stranger.recv(65536)
        os.kill(process.pid, signal.SIGTERM)
        output, said = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
    assert [line for line in said.splitlines() if not line.startswith("INFO: ")] == []


def test_a_mistake_is_one_line(web_shop: Shop) -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        assert f"Nothing can listen at 127.0.0.1, port {port} (" in refusal("serve", "--port", port)


def test_a_store_that_cannot_be_one_is_told_in_one_line(
    web_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").write_text("a file, not a folder")
    monkeypatch.setenv("VETRINA_STORE", str(tmp_path / "store"))
    said = refusal("serve", "--port", 0)
    assert said == f"vetrina: The store folder {tmp_path}/store cannot be made: File exists"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SERVE_REFRESH", "0", "VETRINA_SERVE_REFRESH is 0.0; it must be more"),
        ("SERVE_CONNECTIONS", "0", "VETRINA_SERVE_CONNECTIONS is 0; it must be at least 1"),
        ("SERVE_MAX_UPLOAD", "0", "VETRINA_SERVE_MAX_UPLOAD is 0; it must be at least 1"),
        ("SERVE_WAITING", "-1", "VETRINA_SERVE_WAITING is -1; it must not be negative"),
    ],
)
def test_a_setting_out_of_range_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(f"VETRINA_{name}", value)
    with pytest.raises(SettingError, match=re.escape(says)):
        Settings.from_environment()
