"""Which addresses a picture may come from, and the only transport that connects to them.

Every connection is made to the very address that was checked, so a name cannot change its mind between check
and use; TLS still verifies the name. Every wait on a socket obeys the deadline of the attempt. What a request
asks and how its answer is judged belongs in `fetching`.
"""

import contextlib
import io
import ipaddress
import logging
import queue
import socket
import ssl
import threading
import time
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

import requests
import urllib3.exceptions
from certifi import where
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context

SLICE = 0.25
"""Seconds a blocked thread waits at most before it looks at its deadline and its stop signal again."""

_SHOWN_PATH = 160
_READ_BUFFER = 64 * 1024

# The IANA special-purpose registries, written out: `ipaddress.is_global` differs between Python versions.
_CLOSED_V4 = [
    (ipaddress.IPv4Network(network), what)
    for network, what in {
        "0.0.0.0/8": "this network",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "carrier-grade NAT",
        "127.0.0.0/8": "loopback",
        "168.63.129.16/32": "a cloud provider's internal service",
        "169.254.0.0/16": "link-local",
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "reserved",
        "192.0.2.0/24": "documentation",
        "192.88.99.0/24": "6to4 relay",
        "192.168.0.0/16": "private",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
    }.items()
]
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_CLOSED_V6 = [
    (ipaddress.IPv6Network("2001::/23"), "Teredo or another special purpose"),
    (ipaddress.IPv6Network("2001:db8::/32"), "documentation"),
    (ipaddress.IPv6Network("3fff::/20"), "documentation"),
]
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")


class Trouble(Exception):
    """Why one attempt ended without a picture; `fetching` turns it into an outcome, it never goes further.

    `again` asks for another attempt at once, not before `wait` seconds; `transient` says a later run may
    succeed (by default the same as `again`).
    """

    def __init__(
        self, reason: str, detail: str, *, again: bool = False, transient: bool | None = None, wait: float = 0.0
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.again = again
        self.transient = again if transient is None else transient
        self.wait = wait


def redact(reference: str) -> str:
    """scheme://host/path of an address, for messages: without user, password, query string or fragment."""
    try:
        parts = urlsplit(reference)
    except ValueError:
        return "(an unreadable address)"
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    clean = "".join(letter if letter.isprintable() else "?" for letter in shown)
    return clean if len(clean) <= _SHOWN_PATH else clean[: _SHOWN_PATH - 1] + "…"


def public_name(reference: str) -> str:
    """An address as strangers may see it: redacted, and of a file on this machine no more than its name."""
    if "://" in reference and not reference.startswith("file:"):
        return redact(reference)
    return unquote(reference).rstrip("/").rpartition("/")[2]


def host_of(reference: str) -> str:
    """The host (for S3, the bucket) whose limit a reference counts against; empty for local files."""
    try:
        parts = urlsplit(reference)
        return "" if parts.scheme == "file" else f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
    except ValueError:
        return "?"


def refusal(address: str) -> str | None:
    """Why a numeric address is no global unicast one (a few words), or None when it may be contacted.

    An IPv6 address that carries an IPv4 one (mapped, NAT64, 6to4, ISATAP) is judged by what it carries.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "not a numeric address"
    return _refusal_v4(found) if isinstance(found, ipaddress.IPv4Address) else _refusal_v6(found)


def _refusal_v4(address: ipaddress.IPv4Address) -> str | None:
    return next((what for network, what in _CLOSED_V4 if address in network), None)


def _refusal_v6(address: ipaddress.IPv6Address) -> str | None:
    carried = address.ipv4_mapped or address.sixtofour
    if address in _NAT64 or (address in _GLOBAL_V6 and address.packed[8:12] in _ISATAP):
        carried = ipaddress.IPv4Address(address.packed[12:])
    if carried is not None:
        why = _refusal_v4(carried)
        return f"it carries {carried}, {why}" if why else None
    if address not in _GLOBAL_V6:
        return "loopback" if address.is_loopback else "not global"
    return next((what for network, what in _CLOSED_V6 if address in network), None)


class Watch(threading.local):
    """The clock of the attempt each thread is making, and the maker of connections that obey it.

    One is shared by all connections of a fetcher; deadline and stop signal are each thread's own, because a
    kept-alive connection serves many threads in turn. `closed` ends the attempts of all threads.
    """

    def __init__(self, connect: float, read: float, allow_private: bool, closed: threading.Event) -> None:
        self.connect_timeout = connect
        self.read_timeout = read
        self.allow_private = allow_private
        self.closed = closed
        self.stop = closed
        self.deadline = float("inf")
        self.reader: _Reader | None = None

    def begin(self, seconds: float, stop: threading.Event) -> None:
        """Start the calling thread's attempt: it ends after `seconds`, or as soon as `stop` is set."""
        self.deadline = time.monotonic() + seconds
        self.stop = stop
        self.reader = None

    def left(self) -> float:
        """Seconds until the deadline, above 0. Raises Trouble: deadline, or stopped."""
        if self.stop.is_set() or self.closed.is_set():
            raise Trouble("stopped", "fetching was stopped", transient=True)
        left = self.deadline - time.monotonic()
        if left <= 0:
            # Not tried again at once: it would hold a worker for another whole deadline.
            raise Trouble("deadline", "the picture did not arrive before its deadline", transient=True)
        return left

    def connect(self, host: str, port: int) -> socket.socket:
        """A connection to one of the host's addresses, all of them checked first."""
        places = self._resolve(host.strip("[]"), port)
        if not self.allow_private:
            for *_, place in places:
                if why := refusal(str(place[0])):
                    raise Trouble("private-address", f"{host} leads to {place[0]}, which is refused: {why}")
        until = time.monotonic() + min(self.connect_timeout, self.left())
        failure: OSError | None = None
        for index, (family, kind, protocol, _, place) in enumerate(places):
            self.left()
            sock = WatchedSocket(family, kind, protocol)
            sock.watch = self
            # Each address gets its share, so that a dead first one leaves time for the next.
            share = (until - time.monotonic()) / (len(places) - index)
            try:
                sock.settimeout(max(share, 0.001))
                sock.connect(place)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # The TLS handshake that may follow takes its whole time from this.
                sock.settimeout(min(self.connect_timeout, self.left()))
                return sock
            except OSError as error:
                sock.close()
                failure = error
            except Trouble:
                sock.close()
                raise
        if isinstance(failure, TimeoutError):
            raise Trouble("timeout", f"{host} did not accept a connection in time", again=True)
        name = (failure.strerror if failure else None) or "no address"
        raise Trouble("connection", f"no connection to {host}: {name}", again=True)

    def _resolve(self, host: str, port: int) -> list[Any]:
        """The host's addresses, from a helper thread: the system's resolver has no time-out of its own."""
        answers: queue.SimpleQueue[list[Any] | OSError | UnicodeError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                answers.put(error)

        threading.Thread(target=ask, name="vetrina-dns", daemon=True).start()
        while True:
            try:
                answer = answers.get(timeout=min(SLICE, self.left()))
            except queue.Empty:
                continue
            break
        if isinstance(answer, list):
            return answer
        if isinstance(answer, UnicodeError):
            raise Trouble("bad-url", "the host name cannot be written in DNS")
        again = answer.errno != socket.EAI_NONAME
        raise Trouble("dns", f"the name {host} was not found ({answer.strerror})", again=again)


if TYPE_CHECKING:
    _Socket = socket.socket
    _Connection = HTTPConnection
else:
    _Socket = object
    _Connection = object


class _Watched(_Socket):
    """What plain and TLS sockets share: they wait in slices and obey the attempt's deadline."""

    watch: Watch
    peeking = False

    def recv_into(self, buffer: Any, nbytes: int | None = 0, flags: int = 0) -> int:
        """Receive as a socket does. Raises Trouble: timeout, deadline, or stopped."""
        if self.peeking:
            return self._recv_waiting(buffer)
        patience = time.monotonic() + self.watch.read_timeout
        while True:
            self.settimeout(min(SLICE, self.watch.left(), self.watch.read_timeout))
            try:
                return super().recv_into(buffer, nbytes or 0, flags)
            except TimeoutError:
                if time.monotonic() >= patience:
                    seconds = f"{self.watch.read_timeout:g} s"
                    raise Trouble("timeout", f"the server sent nothing for {seconds}", again=True) from None

    def _recv_waiting(self, buffer: Any) -> int:
        """Receive what has arrived; nothing counts as the end, which is all that a peek wants to know."""
        self.settimeout(0.0)
        try:
            return super().recv_into(buffer)
        except (BlockingIOError, ssl.SSLWantReadError):
            return 0

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send as a socket does. Raises Trouble: timeout, deadline, or stopped."""
        self.settimeout(min(self.watch.read_timeout, self.watch.left()))
        try:
            super().sendall(data, flags)
        except TimeoutError:
            raise Trouble("timeout", "the server did not take the request in time", again=True) from None

    def makefile(self, *args: Any, **kwargs: Any) -> Any:
        """The stream http.client reads an answer from; it notices bytes beyond the announced length."""
        self.watch.reader = _Reader(super().makefile("rb", buffering=0), self)
        return self.watch.reader


class WatchedSocket(_Watched, socket.socket):
    """A plain socket under a `Watch`."""


class WatchedTlsSocket(_Watched, ssl.SSLSocket):
    """A TLS socket under a `Watch`."""


class _Reader(io.BufferedReader):
    """A buffered stream that knows, when closed, whether more had arrived than was read."""

    def __init__(self, raw: io.RawIOBase, sock: _Watched) -> None:
        super().__init__(raw, _READ_BUFFER)
        self._sock = sock
        self.surplus = False

    def close(self) -> None:
        if not self.closed and self._has_more():
            self.surplus = True
            # Never reuse a connection on which the next answer would begin with leftovers.
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        super().close()

    def _has_more(self) -> bool:
        self._sock.peeking = True
        try:
            return bool(self.peek(1))
        except (OSError, ValueError):
            return False
        finally:
            self._sock.peeking = False


class _Guarded(_Connection):
    """What plain and TLS connections share: their socket comes from the `Watch`."""

    def __init__(self, *args: Any, watch: Watch, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watch = watch

    def _new_conn(self) -> socket.socket:
        return self._watch.connect(self._dns_host, self.port)

    def connect(self) -> None:
        super().connect()
        cast(_Watched, self.sock).watch = self._watch


class _PlainConnection(_Guarded, HTTPConnection):
    pass


class _TlsConnection(_Guarded, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


@lru_cache(maxsize=4)
def _tls_context(bundle: str) -> ssl.SSLContext:
    """One context for all connections: reading the bundle of certificates anew would cost each some 20 ms."""
    context = create_urllib3_context()
    context.load_verify_locations(bundle)
    context.sslsocket_class = WatchedTlsSocket
    return context


class GuardedAdapter(HTTPAdapter):
    """The requests adapter that makes every connection through a `Watch` and verifies every certificate.

    Keeps connections alive for `hosts` hosts, at most `per_host` idle ones each. Safe to share between threads.
    """

    def __init__(self, watch: Watch, *, hosts: int, per_host: int) -> None:
        self._watch = watch
        super().__init__(pool_connections=hosts, pool_maxsize=per_host)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Replace the pools' connections by guarded ones (called by requests)."""
        super().init_poolmanager(connections, maxsize, block, ssl_context=_tls_context(where()), **pool_kwargs)
        pools = {"http": _PlainPool, "https": _TlsPool}
        guarded = {scheme: partial(pool, watch=self._watch) for scheme, pool in pools.items()}
        self.poolmanager.pool_classes_by_scheme = cast(dict[str, type[HTTPConnectionPool]], guarded)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to set: the shared context verifies already (called by requests)."""


def web_trouble(error: Exception) -> Trouble:
    """The Trouble behind an error of requests or urllib3, whose own text would show the whole address."""
    causes: list[BaseException] = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    inner = type(causes[-1]).__name__
    if verify := next((one for one in causes if isinstance(one, ssl.SSLCertVerificationError)), None):
        return Trouble("tls", f"its certificate is not accepted: {verify.verify_message}")
    if any(isinstance(one, ssl.SSLError | urllib3.exceptions.SSLError) for one in causes):
        return Trouble("tls", f"no secure connection ({inner})", transient=True)
    if isinstance(error, requests.exceptions.InvalidHeader | urllib3.exceptions.InvalidHeader):
        return Trouble("bad-response", "its headers contradict each other")
    if isinstance(error, urllib3.exceptions.DecodeError):
        return Trouble("bad-encoding", "its compressed body cannot be decompressed")
    if isinstance(error, urllib3.exceptions.ProtocolError) and not any(isinstance(one, OSError) for one in causes):
        return Trouble("short-body", "the body ended early", again=True)
    if any(isinstance(one, TimeoutError) for one in causes):
        return Trouble("timeout", "the server did not answer in time", again=True)
    if isinstance(error, requests.exceptions.ConnectionError | urllib3.exceptions.ProtocolError):
        return Trouble("connection", f"the connection failed ({inner})", again=True)
    return Trouble("bad-url", f"not a usable web address ({inner})")


def _hide_queries(record: logging.LogRecord) -> bool:
    """Strip query strings from what urllib3 logs about odd headers; they may hold secrets."""
    if isinstance(record.args, tuple):
        record.args = tuple(redact(one) if isinstance(one, str) and "://" in one else one for one in record.args)
    return True


logging.getLogger("urllib3.connection").addFilter(_hide_queries)
