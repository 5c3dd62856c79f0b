"""Fetching: a picture's bytes from http(s), S3 or a local file, within limits of time, size and politeness.

A picture that cannot be had is an outcome with a stable reason, never an exception. Connections and the
addresses they may lead to belong in `addresses`, formats in `sniffing`, decoding in `decoding`.
"""

import asyncio
import concurrent.futures
import email.utils
import errno
import os
import random
import stat
import threading
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Generic, Literal, Self, TypeVar
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import requests
import urllib3.exceptions

from vetrina.errors import SettingError
from vetrina.pictures.addresses import SLICE, GuardedAdapter, Trouble, Watch, host_of, redact, web_trouble
from vetrina.pictures.fleet import Fleet
from vetrina.pictures.sniffing import HEAD_BYTES, sniff_picture, why_not_picture

K = TypeVar("K")

_CHUNK = 64 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
PASSING = frozenset({408, 425, 429})
_LONGEST_VALIDATOR = 1024
_NOT_PICTURES = frozenset({"empty", "svg", "html-instead-of-picture", "unknown-format"})


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """How fast, how long and how much. Times in seconds; `deadline` bounds one attempt with its redirects and body.

    `per_host` bounds the pictures of one host (as catalogued) at the same time in `fetch_all`; a pause before a
    further attempt is drawn between 0 and `backoff` times 2 for each former one, at most `max_backoff`.
    """

    concurrency: int = 32
    per_host: int = 8
    connect_timeout: float = 5.0
    read_timeout: float = 10.0
    deadline: float = 60.0
    attempts: int = 4
    backoff: float = 0.5
    max_backoff: float = 30.0
    max_redirects: int = 5
    max_bytes: int = 32 * 2**20
    allow_private: bool = False
    user_agent: str = "vetrina/0.1 (product pictures)"

    def __post_init__(self) -> None:
        above_zero = ("concurrency", "per_host", "connect_timeout", "read_timeout", "deadline", "attempts", "max_bytes")
        for name in above_zero:
            if getattr(self, name) <= 0:
                raise SettingError(f"The fetch limit {name} must be above 0, not {getattr(self, name)}.")
        for name in ("backoff", "max_backoff", "max_redirects"):
            if getattr(self, name) < 0:
                raise SettingError(f"The fetch limit {name} must not be negative.")


@dataclass(frozen=True, slots=True)
class Validators:
    """What a former answer gave to ask by: has it changed since?"""

    etag: str | None
    last_modified: str | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A picture's bytes and its media type as sniffed; `seconds` runs from the first attempt, pauses included."""

    data: bytes
    validators: Validators
    media: str
    attempts: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The picture is the one that the validators came from."""

    attempts: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """No picture: `reason` is a stable code, `detail` a sentence without secrets, `transient` says try a later run."""

    state: Literal["fetch_failed", "not_a_picture"]
    reason: str
    detail: str
    transient: bool
    attempts: int
    seconds: float


FetchOutcome = Fetched | Unchanged | FetchFailed
_Got = tuple[bytes, Validators] | None  # None: unchanged


@dataclass(slots=True)
class _Job(Generic[K]):
    key: K
    reference: str
    validators: Validators | None
    attempts: int = 0
    started: float = 0.0
    host: str = field(init=False)

    def __post_init__(self) -> None:
        self.host = host_of(self.reference)


class Fetcher:
    """Fetches pictures over connections it keeps alive; safe to share between threads. Close it after use.

    `s3_options` are s3fs's (endpoint_url, key, anon …). Environment proxies, netrc and cookies play no part.
    """

    def __init__(self, limits: FetchLimits | None = None, *, s3_options: Mapping[str, Any] | None = None) -> None:
        self.limits = limits = limits or FetchLimits()
        self._closed = threading.Event()
        self._watch = Watch(limits.connect_timeout, limits.read_timeout, limits.allow_private, self._closed)
        self._adapter = GuardedAdapter(self._watch, hosts=limits.concurrency, per_host=limits.concurrency)
        self._s3_options = dict(s3_options or {})
        self._s3: Any = None
        self._s3_lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is under way and close all connections."""
        self._closed.set()
        self._adapter.close()

    def fetch(self, reference: str, validators: Validators | None = None) -> FetchOutcome:
        """The picture at an http(s), s3 or file address; with `validators`, only if it changed since."""
        job = _Job(None, reference, validators)
        while isinstance(step := self._step(job, self._closed), float):
            self._closed.wait(step)
        return step

    def fetch_all(
        self, jobs: Iterable[tuple[K, str, Validators | None]]
    ) -> Generator[tuple[K, FetchOutcome], None, None]:
        """Fetch (key, reference, validators) jobs many at a time and yield each key's outcome as it completes.

        Jobs are drawn lazily, in the caller's thread; at most `concurrency` pictures are in memory, and no worker
        waits for a busy host or a pause. Closing the generator stops the workers.
        """
        fleet: Fleet[_Job[K], FetchOutcome] = Fleet(self._step, self.limits.concurrency, self.limits.per_host)
        try:
            for job, outcome in fleet.outcomes(_Job(*one) for one in jobs):
                yield job.key, outcome
        finally:
            fleet.close()

    def _step(self, job: _Job[Any], stop: threading.Event) -> FetchOutcome | float:
        """One attempt: its outcome, or the seconds to let pass before the next."""
        if self._closed.is_set() and not job.attempts:
            raise RuntimeError("this Fetcher is closed")
        job.started = job.started or time.monotonic()
        job.attempts += 1
        self._watch.begin(self.limits.deadline, stop)
        try:
            got = self._attempt(job.reference, job.validators)
            media = _media(got[0]) if got else ""
        except Trouble as trouble:
            if trouble.again and job.attempts < self.limits.attempts:
                longest = min(self.limits.max_backoff, self.limits.backoff * 2 ** (job.attempts - 1))
                return max(trouble.wait, random.uniform(0.0, longest))
            return FetchFailed(
                state="not_a_picture" if trouble.reason in _NOT_PICTURES else "fetch_failed",
                reason=trouble.reason,
                detail=f"{redact(job.reference)}: {trouble.detail}",
                transient=trouble.transient,
                attempts=job.attempts,
                seconds=time.monotonic() - job.started,
            )
        seconds = time.monotonic() - job.started
        return Fetched(*got, media, job.attempts, seconds) if got else Unchanged(job.attempts, seconds)

    def _attempt(self, reference: str, validators: Validators | None) -> _Got:
        scheme = reference.partition(":")[0].lower()
        if scheme in ("http", "https"):
            return self._from_web(reference, validators)
        if scheme == "s3":
            return self._from_s3(reference, validators)
        if scheme == "file":
            return _from_file(reference, validators, self.limits.max_bytes)
        raise Trouble("bad-url", "not an http, https, s3 or file address")

    def _from_web(self, url: str, validators: Validators | None) -> _Got:
        seen: set[str] = set()
        while True:
            try:
                answer = self._adapter.send(self._request(url, validators), stream=True)
                try:
                    got = self._read(answer, validators)
                finally:
                    answer.close()
                if not isinstance(got, str):
                    return got
                seen.add(url)
                url = urljoin(url, got).partition("#")[0]
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                self._watch.left()  # a deadline that passed is the better reason
                raise web_trouble(error) from None
            if url in seen:
                raise Trouble("redirect-loop", f"redirected in a circle, to {redact(url)}")
            if len(seen) > self.limits.max_redirects:
                raise Trouble("too-many-redirects", f"more than {self.limits.max_redirects} redirects")

    def _request(self, url: str, validators: Validators | None) -> requests.PreparedRequest:
        if urlsplit(url).scheme.lower() not in ("http", "https"):
            raise Trouble("bad-url", f"redirected to {redact(url)}, which is no http or https address")
        # Pictures do not compress further; asking for none keeps Content-Length comparable.
        headers = {"User-Agent": self.limits.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"}
        for name, value in conditions(validators):
            headers[name] = value
        request = requests.Request("GET", url, headers=headers).prepare()
        if "@" in urlsplit(url).netloc or "Authorization" in request.headers:
            raise Trouble("bad-url", "addresses with a user or password are refused")
        return request

    def _read(self, answer: requests.Response, validators: Validators | None) -> _Got | str:
        """What an answer holds: bytes, None for unchanged, or the address it redirects to."""
        status, raw = answer.status_code, answer.raw
        if status == 200:
            return self._body(raw), validators_of(answer.headers)
        if raw.length_remaining is not None and raw.length_remaining < _CHUNK:
            raw.drain_conn()  # a short page: reading it costs less than a new connection
        if status == 304 and any(conditions(validators)):
            return None
        location = answer.headers.get("Location")
        if status in REDIRECTS and location:
            return location.encode("latin-1", "replace").decode("utf-8", "replace")
        passing = status in PASSING or 500 <= status <= 599
        wait = retry_after(answer.headers.get("Retry-After")) if passing else 0.0
        if wait > self.limits.max_backoff:
            detail = f"answered {status} and asks to wait {wait:.0f} s, longer than {self.limits.max_backoff:g} s"
            raise Trouble("retry-after-too-long", detail, transient=True)
        raise Trouble(f"http-{status}", f"answered {status}", again=passing, wait=wait)

    def _body(self, raw: Any) -> bytes:
        announced, limit = raw.length_remaining, self.limits.max_bytes
        parts, size = [], 0
        if (announced or 0) <= limit:
            for part in raw.stream(_CHUNK, decode_content=True):
                parts.append(part)
                size += len(part)
                if size > limit:
                    break
        if max(size, announced or 0) > limit:
            raise Trouble("too-large", f"larger than {limit} bytes")
        if announced is not None and self._watch.reader and self._watch.reader.surplus:
            raise Trouble("short-body", f"more came than the {announced} bytes announced", again=True)
        return b"".join(parts)

    def _from_s3(self, reference: str, validators: Validators | None) -> _Got:
        from aiohttp import ClientError as BrokenBody
        from botocore.exceptions import (  # type: ignore[import-untyped]
            BotoCoreError,
            ClientError,
            NoCredentialsError,
        )

        path, limit = reference[len("s3://") :], self.limits.max_bytes
        if not all(path.partition("/")[::2]):
            raise Trouble("bad-url", "an s3 address names a bucket and a key")
        files = self._open_s3()
        try:
            found = self._await(files, files._info(path, refresh=True))
            etag = found.get("ETag") or None
            if found["type"] != "file":
                raise Trouble("not-a-file", "a folder")
            if etag and validators and validators.etag == etag:
                return None
            if found["size"] > limit:
                raise Trouble("too-large", f"larger than {limit} bytes")
            data = self._await(files, files._cat_file(path, start=0, end=found["size"])) if found["size"] else b""
        except FileNotFoundError:
            raise Trouble("s3-missing", "no such bucket or key") from None
        except PermissionError:
            raise Trouble("s3-denied", "access denied") from None
        except NoCredentialsError:
            raise Trouble("s3-no-credentials", "no credentials for S3") from None
        except (OSError, BotoCoreError, ClientError, BrokenBody, ValueError) as error:
            raise Trouble("s3-error", f"S3 failed ({type(error).__name__})", again=True) from None
        if len(data) != found["size"]:
            raise Trouble("short-body", f"{len(data)} bytes came instead of {found['size']}", again=True)
        return data, Validators(etag, None)

    def _open_s3(self) -> Any:
        with self._s3_lock:
            if self._s3 is None:
                import s3fs  # slow to import, and most catalogs never need it

                options = {"use_listings_cache": False, "skip_instance_cache": True, **self._s3_options}
                # Retries belong to this module: nested ones make 25 requests of one.
                options["config_kwargs"] = {"retries": {"total_max_attempts": 1}, **options.get("config_kwargs", {})}
                self._s3 = s3fs.S3FileSystem(**options)
                self._s3.retries = 1
            return self._s3

    def _await(self, files: Any, request: Any) -> Any:
        """The result of a request on s3fs's own loop, within the attempt's deadline."""
        result = asyncio.run_coroutine_threadsafe(request, files.loop)
        try:
            while True:
                with_patience = min(SLICE, self._watch.left())
                done, _ = concurrent.futures.wait([result], timeout=with_patience)
                if done:
                    return result.result()
        finally:
            result.cancel()


def _media(data: bytes) -> str:
    head = data[:HEAD_BYTES]
    media = sniff_picture(head)
    if media is None:
        raise Trouble(*why_not_picture(head))
    return media


def _from_file(reference: str, validators: Validators | None, limit: int) -> _Got:
    """A local file's bytes; its size and time of change are its validator."""
    try:
        parts = urlsplit(reference)
    except ValueError:
        raise Trouble("bad-url", "not an address") from None
    path = unquote_to_bytes(parts.path)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or b"\0" in path or path[:1] != b"/":
        raise Trouble("bad-url", "a file address is file:/// and a percent-encoded absolute path")
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(opened)
            if not stat.S_ISREG(found.st_mode):
                raise Trouble("not-a-file", "not a regular file")
            etag = f"{found.st_size}-{found.st_mtime_ns}"
            if validators and validators.etag == etag:
                return None
            with os.fdopen(opened, "rb", closefd=False) as file:
                data = file.read(limit + 1)
        finally:
            os.close(opened)
    except (FileNotFoundError, NotADirectoryError):
        raise Trouble("missing-file", "no such file") from None
    except OSError as error:
        passing = error.errno not in (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP)
        raise Trouble("unreadable", f"cannot be read: {error.strerror}", transient=passing) from None
    if len(data) > limit:
        raise Trouble("too-large", f"larger than {limit} bytes")
    return data, Validators(etag, None)


def conditions(validators: Validators | None) -> list[tuple[str, str]]:
    """The conditional request headers for validators; one that cannot stand in a header is left out."""
    if validators is None:
        return []
    pairs = (("If-None-Match", validators.etag), ("If-Modified-Since", validators.last_modified))
    return [(name, value) for name, value in pairs if value and value.isascii() and value.isprintable()]


def validators_of(headers: Mapping[str, str]) -> Validators:
    """What an answer gives to ask by the next time."""
    given = (headers.get("ETag"), headers.get("Last-Modified"))
    return Validators(*(value if value and len(value) <= _LONGEST_VALIDATOR else None for value in given))


def retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks to wait, given as seconds or as a date; 0 when it says nothing."""
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        date = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time(), 0.0)
