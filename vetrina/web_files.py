"""One file from the web into a local one: bounded in time, bytes and redirects, tried again where that may help.

Connections, and the addresses they may lead to, are those of `vetrina.pictures.addresses`. What the file holds, and
what its absence means, is its user's: a catalog (`vetrina.catalog.downloading`) or a model (`vetrina.models`).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions

from vetrina.errors import StoreError
from vetrina.pictures.addresses import GuardedAdapter, Trouble, Watch, redact, web_trouble
from vetrina.pictures.fetching import PASSING, REDIRECTS, Validators, conditions, retry_after, validators_of

_CHUNK = 1 << 20
OnBytes = Callable[[int, int | None], None]
"""Told how many bytes have come, and how many were announced (None: unknown)."""


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """How long and how much. Times in seconds; `deadline` bounds one attempt with its redirects and body."""

    deadline: float = 3600.0
    max_bytes: int = 8 << 30
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    attempts: int = 4
    backoff: float = 1.0
    max_wait: float = 60.0
    max_redirects: int = 5
    allow_private: bool = False
    user_agent: str = "vetrina/0.1 (product catalog)"


class DownloadFailed(Exception):
    """A file that could not be fetched, in words; the address is shown without its secrets.

    Attributes:
        reason: short and stable, as of `Trouble`.
        transient: it may work later.
    """

    def __init__(self, url: str, trouble: Trouble, attempts: int, limits: DownloadLimits) -> None:
        tries = f" after {attempts} tries" if attempts > 1 else ""
        detail = trouble.detail
        if trouble.reason == "deadline":
            detail = f"it did not arrive within {limits.deadline:g} s"
        super().__init__(f"{redact(url)} cannot be fetched{tries}: {detail} ({trouble.reason})")
        self.reason = trouble.reason
        self.transient = trouble.transient


def fetch_file(
    url: str,
    file: Path,
    limits: DownloadLimits,
    validators: Validators | None = None,
    on_bytes: OnBytes = lambda done, announced: None,
) -> Validators | None:
    """Fill `file` with what an http or https address answers; None when nothing changed since `validators`.

    Raises:
        DownloadFailed: it cannot be fetched, or not within the limits.
        StoreError: the local file cannot be written.
    """
    return _Web(url, limits, on_bytes).fetch(file, validators)


class _Web:
    """One download from the web, tried again where that may help."""

    def __init__(self, url: str, limits: DownloadLimits, on_bytes: OnBytes) -> None:
        self._url = url
        self._limits = limits
        self._on_bytes = on_bytes
        self._closed = threading.Event()
        self._watch = Watch(limits.connect_timeout, limits.read_timeout, limits.allow_private, self._closed)
        self._adapter = GuardedAdapter(self._watch, hosts=2, per_host=1)

    def fetch(self, file: Path, validators: Validators | None) -> Validators | None:
        """Fill `file`; None when nothing changed."""
        try:
            for attempt in range(1, self._limits.attempts + 1):
                try:
                    self._watch.begin(self._limits.deadline, self._closed)
                    return self._attempt(file, validators)
                except Trouble as trouble:
                    if not trouble.again or attempt == self._limits.attempts:
                        raise DownloadFailed(self._url, trouble, attempt, self._limits) from None
                    pause = random.uniform(0.0, self._limits.backoff * 2 ** (attempt - 1))
                    time.sleep(min(max(trouble.wait, pause), self._limits.max_wait))
            raise AssertionError("unreachable: the last attempt returns or raises")
        finally:
            self._adapter.close()

    def _attempt(self, file: Path, validators: Validators | None) -> Validators | None:
        url = self._url
        for _ in range(self._limits.max_redirects + 1):
            try:
                answer = self._adapter.send(self._request(url, validators), stream=True)
                try:
                    if answer.status_code == 200:
                        self._save(answer.raw, file)
                        return validators_of(answer.headers)
                    if answer.status_code == 304 and conditions(validators):
                        return None
                    url = urljoin(url, self._redirect(answer)).partition("#")[0]
                finally:
                    answer.close()
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                self._watch.left()  # a deadline that passed is the better reason
                raise web_trouble(error) from None
        raise Trouble("too-many-redirects", f"more than {self._limits.max_redirects} redirects")

    def _request(self, url: str, validators: Validators | None) -> requests.PreparedRequest:
        if urlsplit(url).scheme.lower() not in ("http", "https"):
            raise Trouble("bad-url", f"redirected to {redact(url)}, which is no http or https address")
        # Plain bytes keep Content-Length comparable; a file packs itself (.gz) where that is wanted.
        headers = {"User-Agent": self._limits.user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        request = requests.Request("GET", url, headers=headers | dict(conditions(validators))).prepare()
        if "@" in urlsplit(url).netloc or "Authorization" in request.headers:
            raise Trouble("bad-url", "addresses with a user or password are refused; use a signed address")
        return request

    def _redirect(self, answer: requests.Response) -> str:
        status, location = answer.status_code, answer.headers.get("Location")
        if status in REDIRECTS and location:
            return location.encode("latin-1", "replace").decode("utf-8", "replace")
        passing = status in PASSING or 500 <= status <= 599
        wait = retry_after(answer.headers.get("Retry-After")) if passing else 0.0
        if wait > self._limits.max_wait:
            raise Trouble(f"http-{status}", f"answered {status} and asks to wait {wait:.0f} s", transient=True)
        raise Trouble(f"http-{status}", f"answered {status}", again=passing, wait=wait)

    def _save(self, raw: Any, file: Path) -> None:
        announced, limit, size = raw.length_remaining, self._limits.max_bytes, 0
        if (announced or 0) > limit:
            raise Trouble("too-large", f"larger than {limit} bytes")
        with file.open("wb") as handle:
            for part in raw.stream(_CHUNK, decode_content=True):
                size += len(part)
                if size > limit:
                    raise Trouble("too-large", f"larger than {limit} bytes")
                try:
                    handle.write(part)
                except OSError as error:
                    raise StoreError(f"{file} cannot be written: {error.strerror}; make room there") from error
                self._on_bytes(size, announced)
        # A body shorter than announced raises in urllib3; one that goes on is noticed by the socket's reader.
        if announced is not None and self._watch.reader and self._watch.reader.surplus:
            raise Trouble("short-body", f"more came than the {announced} bytes announced", again=True)
