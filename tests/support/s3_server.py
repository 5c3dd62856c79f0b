"""A real S3 server (moto) on loopback, behind a proxy whose answers go wrong on request and which counts requests.

    with S3Server() as server:
        server.fail(answer(503, "SlowDown"), times=1, method="PUT")
        ...
        assert server.count("PUT") == 2

The proxy is honest about two things moto lacks: it lets one conditional write at a time through to moto, whose
check and write are two steps (`If-None-Match: *` is one step on S3), and it checks no signatures, so wrong
credentials are an injected answer.
"""

import http.client
import itertools
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import botocore.session
import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from support.fault_server import LONGEST_HOLD, Request

Act = Callable[["_Handler"], None]


@dataclass
class _Fault:
    act: Act
    times: int | None
    method: str | None
    part: str


def answer(status: int, code: str) -> Act:
    """An error as S3 words it."""

    def act(handler: "_Handler") -> None:
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>secret text</Message></Error>'.encode()
        handler.reply(status, {"Content-Type": "application/xml"}, b"" if handler.command == "HEAD" else body)

    return act


def hang_up(handler: "_Handler") -> None:
    """The connection breaks before anything is done."""
    handler.drop()


def lose_answer(handler: "_Handler") -> None:
    """What was asked is done, but the connection breaks before the answer."""
    handler.forward()
    handler.drop()


def cut_body(handler: "_Handler") -> None:
    """Half of the answer's body comes, then the connection breaks."""
    status, headers, body = handler.forward()
    handler.reply(status, headers, body[: len(body) // 2], announced=len(body))
    handler.drop()


def stall(handler: "_Handler") -> None:
    """No answer comes."""
    handler.server.owner.released.wait(LONGEST_HOLD)
    handler.drop()


def unconditional(handler: "_Handler") -> None:
    """As a server that ignores conditions: the write is done whatever was there."""
    del handler.headers["If-None-Match"]
    handler.reply(*handler.forward())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"
    body: bytes = b""

    def _serve(self) -> None:
        owner = self.server.owner
        if self.headers.get("Expect", "").lower() == "100-continue":
            pass  # the base class has answered it
        self.body = self._read_body()
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = owner._note(Request(self.command, unquote(parts.path), parts.query, headers))
        if fault is not None:
            fault.act(self)
        elif headers.get("if-none-match") == "*":
            with owner.conditional:
                result = self.forward()
            self.reply(*result)
        else:
            self.reply(*self.forward())

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def forward(self) -> tuple[int, dict[str, str], bytes]:
        """What moto answers."""
        time.sleep(self.server.owner.latency)
        connection = http.client.HTTPConnection(*self.server.owner.upstream, timeout=30)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in {"transfer-encoding", "expect"}}
            headers["Content-Length"] = str(len(self.body))
            connection.request(self.command, self.path, self.body, headers)
            found = connection.getresponse()
            return found.status, dict(found.getheaders()), found.read()
        finally:
            connection.close()

    def reply(self, status: int, headers: Mapping[str, str], body: bytes, announced: int | None = None) -> None:
        """Answer the client."""
        self.send_response_only(status)
        own = {"connection", "transfer-encoding", "content-length", "server"}
        for name, value in headers.items():
            if name.lower() not in own:
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body) if announced is None else announced))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.wfile.flush()

    def drop(self) -> None:
        """Break the connection off."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: "S3Server"

    def handle_error(self, *_: Any) -> None:
        pass  # connections that a fault broke


@cache
def _moto() -> tuple[str, int]:
    """Where moto listens, until the process ends: it has one state for all its servers in a process anyway."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    return server.get_host_and_port()


_NUMBERS = itertools.count(1)


@dataclass
class S3Server:
    """A proxy before an emptied moto server with one `bucket`."""

    bucket: str = "shop"
    latency: float = 0.0
    """Seconds that each request takes longer."""
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> "S3Server":
        # Ports come again in a process; what it remembers of a server must not.
        self._number = next(_NUMBERS)
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()
        self.conditional = threading.Lock()
        self.released = threading.Event()
        self.upstream = _moto()
        self._tell_moto("POST", "/moto-api/reset")
        self._tell_moto("PUT", f"/{self.bucket}")
        self._proxy = _Server(("127.0.0.1", 0), _Handler)
        self._proxy.owner = self
        threading.Thread(target=self._proxy.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._proxy.shutdown()
        self._proxy.server_close()

    def _tell_moto(self, method: str, path: str) -> None:
        connection = http.client.HTTPConnection(*self.upstream, timeout=30)
        connection.request(method, path, headers={"Content-Length": "0"})
        assert connection.getresponse().status == 200
        connection.close()

    @property
    def url(self) -> str:
        """The proxy's address."""
        return f"http://127.0.0.1:{self._proxy.server_address[1]}"

    @cached_property
    def client(self) -> Any:
        """A plain client, past the proxy, for what a test arranges or inspects itself."""
        session = botocore.session.Session()
        return session.create_client(
            "s3",
            "us-east-1",
            endpoint_url="http://{}:{}".format(*self.upstream),
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use the server."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": f"very-secret-{self._number}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def fail(self, act: Act, *, times: int | None = None, method: str | None = None, part: str = "") -> None:
        """From now on requests with this method, and `part` in their path, go wrong; `times` None: always."""
        with self._lock:
            self._faults.append(_Fault(act, times, method, part))

    def heal(self) -> None:
        """All faults are over."""
        with self._lock:
            self._faults.clear()

    def count(self, method: str = "", part: str = "") -> int:
        """Requests that came, with this method and `part` in their path or query."""
        with self._lock:
            return sum(
                (not method or request.method == method) and part in f"{request.path}?{request.query}"
                for request in self.requests
            )

    def stored(self, prefix: str = "") -> list[str]:
        """Keys in the bucket."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def _note(self, request: Request) -> _Fault | None:
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                fits = fault.method in (None, request.method) and fault.part in request.path
                if fits and fault.times != 0:
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server that the environment names as long as the block lasts, and no other AWS setting beside it."""
    with S3Server() as server, pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_S3"))]:
            environment.delenv(name)
        for name, value in server.environment.items():
            environment.setenv(name, value)
        yield server
