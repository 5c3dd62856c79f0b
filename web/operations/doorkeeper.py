"""The doorkeeper: knows the token, tells sessions, and makes those wait who guess.

A session is a text that says when it ends, signed with the token: nothing is kept here, and another token ends all
sessions. Wrong tokens make their sender wait; sessions are not held up by that.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from dataclasses import dataclass

from web.problems import Problem

SESSION_SECONDS = 8 * 3600
_FREE_GUESSES = 5  # wrong tokens from one address before it has to wait
_LONGEST_WAIT = 60.0
_REMEMBERED = 900.0  # seconds after which an address begins anew
_MOST_ADDRESSES = 10_000


@dataclass(slots=True)
class _Guesses:
    wrong: int = 0
    last: float = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next guess is heard."""
        if self.wrong < _FREE_GUESSES:
            return 0.0
        pause = min(_LONGEST_WAIT, 2.0 ** (self.wrong - _FREE_GUESSES))
        return max(0.0, self.last + pause - now)


class Doorkeeper:
    """Knows the token. Used from the event loop alone.

    Args:
        token: empty: nobody may change anything.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._guesses: dict[str, _Guesses] = {}

    @property
    def open(self) -> bool:
        """Whether there is a token, so that something can be changed at all."""
        return bool(self._token)

    def require_open(self) -> None:
        """Raises Problem (403) where nothing can be changed."""
        if not self.open:
            raise Problem(
                403,
                "read-only",
                "Nothing can be changed here",
                "This server has no token: set VETRINA_SERVE_TOKEN and start it again",
            )

    def check(self, given: bytes | None, address: str) -> None:
        """Let a caller pass who shows the token.

        Args:
            address: the caller's.

        Raises:
            Problem: 403 without a token here, 401 for a wrong one or none, 429 after many wrong ones.
        """
        self.require_open()
        if given is None:
            raise _unauthorized("Send the token of VETRINA_SERVE_TOKEN as: Authorization: Bearer TOKEN")
        now = time.monotonic()
        guesses = self._guesses_of(address, now)
        if (wait := guesses.wait(now)) > 0:
            seconds = str(int(wait) + 1)
            raise Problem(
                429,
                "too-many-guesses",
                "Too many wrong tokens",
                f"Try again in {seconds} s",
                headers={"Retry-After": seconds},
            )
        if not hmac.compare_digest(given, self._token):
            guesses.wrong += 1
            guesses.last = now
            raise _unauthorized("The token is not that of VETRINA_SERVE_TOKEN")
        self._guesses.pop(_network(address), None)

    def session(self) -> str:
        """A new session for somebody who showed the token."""
        until = str(int(time.time()) + SESSION_SECONDS)
        return f"{until}.{self._signature(until)}"

    def knows(self, session: str | None) -> bool:
        """Whether this is a session that has not ended."""
        if not self.open or session is None:
            return False
        until, _, signature = session.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(until).encode()):
            return False
        return int(until) > time.time()

    def _signature(self, until: str) -> str:
        return hmac.new(self._token, f"vetrina session {until}".encode(), hashlib.sha256).hexdigest()

    def _guesses_of(self, address: str, now: float) -> _Guesses:
        network = _network(address)
        guesses = self._guesses.pop(network, None)
        if guesses is None or now - guesses.last > _REMEMBERED:
            guesses = _Guesses()
        self._guesses[network] = guesses  # at the end: who asked longest ago goes first
        if len(self._guesses) > _MOST_ADDRESSES:
            del self._guesses[next(iter(self._guesses))]
        return guesses


def _unauthorized(detail: str) -> Problem:
    return Problem(
        401, "unauthorized", "The token is needed", detail, headers={"WWW-Authenticate": 'Bearer realm="vetrina"'}
    )


def _network(address: str) -> str:
    """What one caller has for himself: an IPv4 address, also written as IPv6, or the /64 network of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((found, 64), strict=False))
        found = found.ipv4_mapped
    return str(found)
