"""Requests to one bucket: through s3fs, tried again as often as agreed, in bounded time, with errors for people.

Belongs here: connections, retries, time limits. Does not belong here: what is asked for (`vetrina.store.s3`).
Connections are shared within a process by all stores of the same bucket, endpoint and credentials.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import s3fs
from aiohttp import ClientError as BrokenConnection
from botocore import exceptions as botocore  # type: ignore[import-untyped]

from vetrina.errors import StoreUnavailable
from vetrina.store.breaker import Breaker
from vetrina.store.s3_errors import Refusal, in_words, refusal

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a store is waited for.

    Attributes:
        attempts: for one call.
        backoff: seconds before the second attempt, doubled for each further one.
        connect, read: seconds without an answer that end an attempt.
        deadline: seconds for a call with all its attempts.
        failures, rest: calls failed in a row after which nothing is asked, and for how many seconds.
    """

    attempts: int = 4
    backoff: float = 0.3
    connect: float = 5.0
    read: float = 20.0
    deadline: float = 45.0
    failures: int = 3
    rest: float = 20.0


PATIENCE = Patience()
"""Of connections opened from now on."""

_FAULTS = (OSError, botocore.BotoCoreError, botocore.ClientError, BrokenConnection, asyncio.TimeoutError, ValueError)


class RequestFailed(Exception):
    """The server's answer to a request is no, for good; `vetrina.store.s3` makes of it what it means there."""

    def __init__(self, found: Refusal, error: StoreUnavailable) -> None:
        super().__init__(str(error))
        self.found = found
        self.error = error


class Connection:
    """Requests to one bucket; safe to share between threads, not to take through a fork."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.patience = PATIENCE
        self.breaker = Breaker(PATIENCE.failures, PATIENCE.rest)
        self.once = threading.Lock()
        self.create_is_kept: bool | None = None
        """Whether the server honours create-only; None until it was tried."""
        self.bucket_seen = False
        # Nothing is cached: listings go stale in a process that lives long, and instances would outlive their settings.
        self._fs = s3fs.S3FileSystem(
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={
                "connect_timeout": PATIENCE.connect,
                "read_timeout": PATIENCE.read,
                "max_pool_connections": 32,
                # Retries belong to this module: nested ones make 25 requests of one.
                "retries": {"total_max_attempts": 1},
            },
        )
        self._fs.retries = 1

    @property
    def endpoint(self) -> str:
        """Where the requests go; empty before the first."""
        client = self._fs._s3
        return "" if client is None else str(client.meta.endpoint_url)

    def ask(self, method: str, doing: str, *, insist: bool = False, **arguments: Any) -> dict[str, Any]:
        """The answer to one request; a body is read to its end and stands under "Body" as bytes.

        Args:
            method: botocore's name of it.
            doing: for messages, as in "read index/1.json".
            insist: ask even while the store is judged down.

        Raises:
            RequestFailed: the server says no, for good (4xx).
            StoreUnavailable: no answer came, or only failures, although it was tried again; or the store is
                judged down and was not asked.
        """
        if not insist:
            self.breaker.check()
        try:
            answer = self._run(self._persist(method, arguments))
        except _FAULTS as error:
            found = refusal(error)
            # The causes hold whole requests; what they mean is in the words.
            unavailable = in_words(error, self.bucket, self.endpoint, doing)
            if found.again:
                self.breaker.failed(unavailable)
            elif found.status:
                self.breaker.succeeded()
                raise RequestFailed(found, unavailable) from None
            raise unavailable from None
        self.breaker.succeeded()
        return answer

    def _run(self, request: Coroutine[Any, Any, T]) -> T:
        """Wait for a request on s3fs's own loop, and end it if this thread is interrupted."""
        result = asyncio.run_coroutine_threadsafe(request, self._fs.loop)
        try:
            return result.result()
        finally:
            result.cancel()

    async def _persist(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """One request, again while its failure may pass; the last failure is raised."""
        patience = self.patience
        await self._fs.set_session()  # reads botocore's description of S3 once: no part of waiting for the server
        until = time.monotonic() + patience.deadline
        for attempt in range(1, patience.attempts + 1):
            left = until - time.monotonic()
            try:
                return await asyncio.wait_for(self._once(method, arguments), left)
            except _FAULTS as error:
                pause = patience.backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1)
                out_of_time = time.monotonic() + pause >= until
                if attempt == patience.attempts or out_of_time or not refusal(error).again:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("no attempt was made")

    async def _once(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = await self._fs._call_s3(method, Bucket=self.bucket, **arguments)
        body = answer.get("Body")
        if body is not None:
            async with body as stream:
                answer["Body"] = await stream.read()
        return answer


_connections: dict[tuple[str, str], Connection] = {}
_connecting = threading.Lock()


def connection(bucket: str) -> Connection:
    """The connection to `bucket` under the settings that the environment has now.

    Raises:
        StoreUnavailable: those settings cannot be used.
    """
    key = bucket, settings_digest()
    with _connecting:
        if key not in _connections:
            try:
                _connections[key] = Connection(bucket)
            except _FAULTS as error:
                raise in_words(error, bucket, "", "connect") from None
        return _connections[key]


def settings_digest() -> str:
    """Names what the environment says of S3: equal digests, same server and same credentials."""
    relevant = sorted(item for item in os.environ.items() if item[0].startswith(("AWS_", "FSSPEC_S3")))
    return hashlib.sha256(repr(relevant).encode()).hexdigest()[:16]


_left_behind: list[object] = []


def _after_fork() -> None:
    """A child begins anew: sockets and the loop's thread are its parent's."""
    global _connections, _connecting
    _left_behind.append(_connections)  # closing them here would close them for the parent too
    _connections, _connecting = {}, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
