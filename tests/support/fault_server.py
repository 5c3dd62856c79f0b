"""A real HTTP server on loopback whose answers go wrong on request, and which remembers what it was asked.

    with FaultServer({"/a.jpg": data}) as server:
        server.fail("/a.jpg", status(500, times=1))
        get(server.url("/a.jpg"))
        assert server.count("/a.jpg") == 2

A path is served from `pictures` (with ETag, Last-Modified, 304 and ranges) unless a fault is set for it.
"""

import gzip
import hashlib
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TINY_JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(400) + b"\xff\xd9"
"""Begins like a JPEG, which is all that fetching looks at; no decoder accepts it."""

LONGEST_HOLD = 20.0
"""Seconds after which the server lets go of a client that a test forgot."""


@dataclass(frozen=True)
class Request:
    """One request as it came; header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]


@dataclass
class Fault:
    """How a path misbehaves: `act` answers; after `times` answers (None: always) the path is well again."""

    act: Callable[["Handler"], None]
    times: int | None = None


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise every answer waits 40 ms for a delayed ACK
    server: "_Server"

    def do_GET(self) -> None:
        self.server.owner._serve(self)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """A complete answer with a true Content-Length."""
        self.begin(status, {"Content-Length": str(len(body)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Status line and headers only."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def hold(self, seconds: float) -> bool:
        """Wait, at most until the server closes; True while it is open."""
        return not self.server.owner.closing.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    owner: "FaultServer"

    def process_request(self, request: Any, client_address: Any) -> None:
        self.owner.connections += 1
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.owner.tls is None:
            super().finish_request(request, client_address)
            return
        # In the connection's own thread, so that one slow handshake holds up nobody.
        with self.owner.tls.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what many tests are about."""


@dataclass
class FaultServer:
    """See the module; use as a context manager. All counters may be read at any time."""

    pictures: dict[str, bytes] | None = None
    tls: ssl.SSLContext | None = None
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    peak: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.pictures = dict(self.pictures or {})
        self._faults: dict[str, Fault] = {}
        self._lock = threading.Lock()
        self._running = 0
        self._http = _Server(("127.0.0.1", self.port), Handler)
        self._http.owner = self
        self.port = int(self._http.server_address[1])

    def __enter__(self) -> "FaultServer":
        serve = self._http.serve_forever
        threading.Thread(target=serve, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """The address of a path; `host` may be another spelling of loopback."""
        return f"http{'s' if self.tls else ''}://{host}:{self.port}{path}"

    def fail(self, path: str, fault: Fault) -> None:
        """Let a path misbehave from now on."""
        self._faults[path] = fault

    def heal(self, path: str) -> None:
        """End a path's misbehaviour."""
        self._faults.pop(path, None)

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return self.counts[path]

    @property
    def counts(self) -> Counter[str]:
        return Counter(request.path for request in list(self.requests))

    def _serve(self, handler: Handler) -> None:
        parts = urlsplit(handler.path)
        path = unquote(parts.path)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            self.requests.append(Request(handler.command, path, parts.query, headers))
            self._running += 1
            self.peak = max(self.peak, self._running)
            fault = self._faults.get(path)
            if fault and fault.times is not None:
                fault.times -= 1
                if fault.times < 0:
                    fault = None
        try:
            fault.act(handler) if fault else self._picture(handler, path, headers)
        finally:
            with self._lock:
                self._running -= 1

    def _picture(self, handler: Handler, path: str, headers: Mapping[str, str]) -> None:
        data = (self.pictures or {}).get(path)
        if data is None:
            handler.reply(404, b"not here")
            return
        given = {"ETag": etag_of(data), "Last-Modified": LAST_MODIFIED, "Content-Type": "application/octet-stream"}
        since = headers.get("if-modified-since") == LAST_MODIFIED and "if-none-match" not in headers
        if headers.get("if-none-match") == etag_of(data) or since:
            handler.begin(304, given)
            return
        wanted = headers.get("range", "").removeprefix("bytes=").split("-")
        if len(wanted) == 2 and wanted[0]:
            first, last = int(wanted[0]), min(int(wanted[1] or len(data)), len(data) - 1)
            given["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            handler.reply(206, data[first : last + 1], given)
            return
        handler.reply(200, data, given)


LAST_MODIFIED = formatdate(1_700_000_000, usegmt=True)


def etag_of(data: bytes) -> str:
    """The ETag that the server gives these bytes."""
    return f'"{hashlib.sha256(data).hexdigest()[:16]}"'


def status(code: int, times: int | None = None, headers: Mapping[str, str] | None = None) -> Fault:
    """An error page."""
    return Fault(lambda handler: handler.reply(code, b"sorry", headers), times)


def too_many(retry_after: str = "0", times: int | None = 1) -> Fault:
    """429 with Retry-After."""
    return status(429, times, {"Retry-After": retry_after})


def answer(body: bytes, headers: Mapping[str, str] | None = None, times: int | None = None) -> Fault:
    """200 with any bytes."""
    return Fault(lambda handler: handler.reply(200, body, headers), times)


def html() -> Fault:
    """A web page under a picture's name and media type."""
    return answer(b"<!DOCTYPE html><html><body>Please log in</body></html>", {"Content-Type": "image/jpeg"})


def empty() -> Fault:
    """200 and no bytes."""
    return answer(b"")


def redirect(to: str, code: int = 302) -> Fault:
    """A redirect to any Location."""
    return Fault(lambda handler: handler.reply(code, b"", {"Location": to}))


def drip(times: int | None = None, announce: int = 10_000, every: float = 0.05) -> Fault:
    """A body of one byte every `every` seconds."""

    def act(handler: Handler) -> None:
        handler.begin(200, {"Content-Length": str(announce)})
        handler.wfile.write(b"\xff\xd8\xff")
        for _ in range(announce - 3):
            if not handler.hold(every):
                return
            handler.wfile.write(b"\x00")

    return Fault(act, times)


def drip_headers(every: float = 0.05) -> Fault:
    """Headers that come letter by letter and never end."""

    def act(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while handler.hold(every):
            handler.wfile.write(b"x")

    return Fault(act)


def stall(times: int | None = None) -> Fault:
    """No answer at all until the server closes."""

    def act(handler: Handler) -> None:
        handler.hold(LONGEST_HOLD)
        _hang_up(handler)

    return Fault(act, times)


def held(gate: threading.Event, body: bytes = TINY_JPEG) -> Fault:
    """A good answer, but only once the test opens the gate."""

    def act(handler: Handler) -> None:
        gate.wait(LONGEST_HOLD)
        handler.reply(200, body)

    return Fault(act)


def odd_headers() -> Fault:
    """A good answer with a line among its headers that is none, which HTTP libraries like to log."""

    def act(handler: Handler) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(TINY_JPEG)}\r\nno header at all\r\n\r\n"
        handler.wfile.write(head.encode() + TINY_JPEG)

    return Fault(act)


def reset(times: int | None = None) -> Fault:
    """The connection is reset in the middle of the body."""

    def act(handler: Handler) -> None:
        handler.begin(200, {"Content-Length": "100000"})
        handler.wfile.write(TINY_JPEG)
        _hang_up(handler, rudely=True)

    return Fault(act, times)


def refuse(times: int | None = None) -> Fault:
    """The connection ends before any answer."""
    return Fault(lambda handler: _hang_up(handler), times)


def short(times: int | None = None) -> Fault:
    """A body shorter than announced, then a clean end."""

    def act(handler: Handler) -> None:
        handler.begin(200, {"Content-Length": str(len(TINY_JPEG) + 100)})
        handler.wfile.write(TINY_JPEG)
        _hang_up(handler)

    return Fault(act, times)


def longer(times: int | None = None, extra: int = 100) -> Fault:
    """A body longer than announced."""

    def act(handler: Handler) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(TINY_JPEG)}\r\n\r\n".encode()
        handler.wfile.write(head + TINY_JPEG + b"\x00" * extra)  # one write: surplus arrives with the body

    return Fault(act, times)


def cut_chunks(times: int | None = None) -> Fault:
    """A chunked body that ends before its last chunk."""

    def act(handler: Handler) -> None:
        handler.begin(200, {"Transfer-Encoding": "chunked"})
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(TINY_JPEG), TINY_JPEG))
        _hang_up(handler)

    return Fault(act, times)


def endless() -> Fault:
    """A chunked body without end."""

    def act(handler: Handler) -> None:
        handler.begin(200, {"Transfer-Encoding": "chunked"})
        while handler.hold(0.0):
            handler.wfile.write(b"10000\r\n\xff\xd8\xff" + bytes(0x10000 - 3) + b"\r\n")

    return Fault(act)


def gzip_bomb(megabytes: int = 64) -> Fault:
    """A small compressed body that decompresses to many megabytes."""
    body = gzip.compress(TINY_JPEG + bytes(megabytes * 2**20), compresslevel=9)
    return answer(body, {"Content-Encoding": "gzip"})


def _hang_up(handler: Handler, *, rudely: bool = False) -> None:
    """End the connection, with a reset when `rudely`."""
    if rudely:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.rfile.close()
    handler.connection.close()
