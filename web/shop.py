"""What the web is handed: one shop under its settings, and what may be done to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from vetrina.catalog.batches import Batch
from vetrina.coverage import CoverageReader
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.fetching import Fetcher
from vetrina.quality.verdict import Verdict
from vetrina.search.conditions import Usual
from vetrina.search.window import ShopWindow
from vetrina.store import Store
from web.photos.uploads import PATIENCE, Patience


@dataclass(frozen=True, slots=True)
class Retry:
    """One time that failed pictures are, or were, asked for again.

    Attributes:
        state: "failed" also when only some batches failed.
        since, ended: ISO 8601 in UTC; `ended` is None while it runs.
        report: what it did, as `vetrina retry --json`; None while it runs, and when it could do nothing.
        error: one sentence on why it failed.
    """

    state: Literal["running", "done", "failed"]
    since: str
    ended: str | None = None
    report: dict[str, Any] | None = None
    error: str | None = None


class Retries(Protocol):
    """Asks for failed pictures again, in a process of its own and one at a time."""

    @property
    def last(self) -> Retry | None:
        """The one that runs, or else the last that ran since this was opened."""
        ...

    def start(self) -> Retry:
        """Begin. Raises AlreadyRunning."""
        ...


class Shop(Protocol):
    """A shop. Every method may be called from several threads at once."""

    @property
    def store(self) -> Store:
        """Where everything is kept."""
        ...

    def window(self) -> ShopWindow:
        """A window on the shop as it is now. Raises NotFound, IndexDamaged, ModelError, StoreError."""
        ...

    @property
    def usual(self) -> Usual:
        """What results must meet where a question does not say."""
        ...

    def decoders(self) -> DecoderPool:
        """Decoders for strangers' pictures; the caller closes them."""
        ...

    def fetcher(self) -> Fetcher:
        """A fetcher for photos that strangers name, never from inside the network; the caller closes it."""
        ...

    def coverage(self) -> CoverageReader:
        """Where rows ended, as it is now. Raises StoreError, ModelError."""
        ...

    def verdicts(self, batch: Batch) -> list[Verdict]:
        """What is judged of a worked batch from what was kept of it. Raises StoreError."""
        ...

    def retries(self, ended: Callable[[], None]) -> AbstractContextManager[Retries]:
        """What asks for failed pictures again, for the time of a block: a retry that runs at its end is ended.

        Args:
            ended: is called after each, in a thread of its own.
        """
        ...

    def roll_back(self, to: str | None) -> dict[str, Any]:
        """Serve an earlier index version again. Raises NotFound, IndexDamaged, StoreError."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """How the shop is served.

    Attributes:
        token: what a caller must show to change something; empty: nothing can be changed here.
        prefix: the path that a proxy serves this under, such as /vetrina; empty: the root.
        dagster_url: where Dagster's UI is, for links; empty: no links.
        most_upload_bytes: the largest photo.
        most_picture_bytes: the largest picture of the shop's own.
        patience: how slowly a photo may come.
        fetch: whether callers may name a photo by its address.
        most_waiting: requests that may wait for their turn; more are told to come back later.
        refresh_seconds: how often the store is asked whether there is something new.
    """

    token: str = field(default="", repr=False)
    prefix: str = ""
    dagster_url: str = ""
    most_upload_bytes: int = 20 << 20
    most_picture_bytes: int = 32 << 20
    patience: Patience = PATIENCE
    fetch: bool = True
    most_waiting: int = 64
    refresh_seconds: float = 5.0
