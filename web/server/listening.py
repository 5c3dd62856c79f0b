"""The server: uvicorn, held to limits of time and size that it does not have of its own.

Uvicorn waits for ever for a head that comes byte by byte, and for a reader that does not read; neither a head nor the
number of connections is bounded. Here they are, and who passes a bound is told so as a problem.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from vetrina.errors import SettingError
from web.problems import Problem
from web.sending import as_bytes
from web.server.protection import RAW_HEADERS
from web.server.watching import REQUESTS
from web.turns import busy


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection may take.

    Attributes:
        connections: at the same time.
        head_seconds: for the head of a request, from the first byte that is waited for.
        idle_seconds: between two requests.
        write_seconds: that a reader may let an answer wait.
        url_bytes, header_bytes: of a request; the longest filter that is read fits.
        closing_seconds: for requests under way when the server is told to stop.
    """

    connections: int = 512
    head_seconds: float = 10.0
    idle_seconds: float = 15.0
    write_seconds: float = 30.0
    url_bytes: int = 48 << 10
    header_bytes: int = 32 << 10
    closing_seconds: int = 30


LIMITS = Limits()
_LINGER = 1.0  # seconds


def server_of(app: FastAPI, *, limits: Limits = LIMITS, trusted_proxies: str = "") -> uvicorn.Server:
    """A server of the application; `run(sockets=[…])` serves until it is told to stop.

    Args:
        trusted_proxies: addresses and networks, comma-separated, whose X-Forwarded-For and X-Forwarded-Proto are
            believed; empty: nobody's.
    """
    turned_away = partial(app.state.metrics.turned_away, "connections")
    protocol = partial(GuardedProtocol, limits=limits, turned_away=turned_away)
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=trusted_proxies,
        timeout_keep_alive=limits.idle_seconds,  # type: ignore[arg-type]
        timeout_graceful_shutdown=limits.closing_seconds,
    )
    return uvicorn.Server(config)


def serve(app: FastAPI, listener: socket.socket, *, limits: Limits, trusted_proxies: str, log_requests: bool) -> None:
    """Serve until a signal comes; requests under way are finished. The process then ends as it does without one."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # a stranger's nonsense is no warning
    if log_requests:
        REQUESTS.setLevel(logging.INFO)
    # Uvicorn raises the signal again when all is done.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server_of(app, limits=limits, trusted_proxies=trusted_proxies).run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address; whoever connects is refused until it is served. Raises SettingError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise SettingError(
            f"Nothing can listen at {host}, port {port} ({error.strerror or error}); choose others: --host, --port"
        ) from error
    return listener


class GuardedProtocol(HttpToolsProtocol):
    """One connection, within the limits."""

    def __init__(self, *args: Any, limits: Limits, turned_away: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._turned_away = turned_away
        self._one_too_many = False
        self._refused = False
        self._in_head = False
        self._head = _Timer(self.loop, limits.head_seconds, self._head_too_slow)
        self._write = _Timer(self.loop, limits.write_seconds, lambda: self.transport.abort())
        self._unparsed = 0
        self._header_bytes = 0
        self._refusal = _MALFORMED

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As asyncio."""
        super().connection_made(transport)
        self.client = _as_known(self.client)
        self._one_too_many = len(self.connections) > self._limits.connections
        if len(self.connections) > 2 * self._limits.connections:
            self._turned_away()
            transport.abort()  # not even to be told so
            return
        self._head.start()

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._head.stop()
        self._write.stop()

    def data_received(self, data: bytes) -> None:
        """As asyncio."""
        if self._refused:
            return
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._in_head:
            self._unparsed += len(data)
            if self._unparsed > self._limits.url_bytes + self._limits.header_bytes:
                self._refuse(_HEADERS_TOO_LARGE)
                return
        if self._in_head or self.cycle is None or self.cycle.response_complete:
            self._head.start()

    def on_message_begin(self) -> None:
        """As httptools."""
        super().on_message_begin()
        self._in_head = True
        self._unparsed = self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """As httptools."""
        super().on_url(url)
        if len(self.url) > self._limits.url_bytes:
            self._refusal = _URL_TOO_LONG
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        """As httptools."""
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self._limits.header_bytes:
            self._refusal = _HEADERS_TOO_LARGE
            raise _Refused

    def on_headers_complete(self) -> None:
        """As httptools."""
        self._in_head = False
        self._unparsed = 0
        self._head.stop()
        if self._one_too_many:
            self._turned_away()
            self._refusal = busy()
            raise _Refused
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn does of a request that the parser, or a limit here, refuses."""
        self._refuse(self._refusal)

    def pause_writing(self) -> None:
        """As asyncio."""
        super().pause_writing()
        self._write.start()

    def resume_writing(self) -> None:
        """As asyncio."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._write.stop()

    def on_response_complete(self) -> None:
        """As uvicorn. A transport that is closed waits for its reader to the last byte, and says no more of it."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._write.start()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for a while after an answer, which perhaps was not read either."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _head_too_slow(self) -> None:
        if self._unparsed:
            self._refuse(_TOO_SLOW)
        else:
            self.timeout_keep_alive_handler()

    def _refuse(self, problem: Problem) -> None:
        """Send a problem and hang up; an answer that is under way is finished instead."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            return
        body = as_bytes(problem.as_json())
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
            *RAW_HEADERS,
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[problem.status], lines, body))
        # What still comes is taken for a moment: hanging up on it would take the answer away from the sender.
        self.transport.write_eof()
        self._refused = True
        self._head.stop()
        self.loop.call_later(_LINGER, self.transport.abort)


def _as_known(client: tuple[str, int] | None) -> tuple[str, int] | None:
    """A caller by the address that people know it by: one by IPv4 has a longer one where IPv6 is listened for."""
    if client is None:
        return None
    host, port = client
    return host.removeprefix("::ffff:") if "." in host else host, port


class _Timer:
    """Does something when it was not stopped in time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, then: Callable[[], None]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._then = then
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._handle is None:
            self._handle = self._loop.call_later(self._seconds, self._then)

    def stop(self) -> None:
        """Forget it."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class _Refused(Exception):
    """Ends the parsing of a request that passed a limit."""


_MALFORMED = Problem(400, "bad-request", "The request cannot be understood", "This is no HTTP/1.1 request")
_URL_TOO_LONG = Problem(414, "too-long", "The address is too long", "Shorten the query, such as its filter")
_HEADERS_TOO_LARGE = Problem(431, "too-large", "The headers are too large", "Send fewer or shorter headers")
_TOO_SLOW = Problem(408, "too-slow", "The request came too slowly", "Its head was not whole in time; send it again")
