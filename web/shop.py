"""What the web is handed: one shop under its settings, and what may be done to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.fetching import Fetcher
from vetrina.search.window import Conditions, ShopWindow
from vetrina.store import Store
from web.uploads import PATIENCE, Patience


class Shop(Protocol):
    """A shop. Every method may be called from several threads at once."""

    @property
    def store(self) -> Store:
        """Where everything is kept."""
        ...

    def window(self) -> ShopWindow:
        """A window on the shop as it is now. Raises NotFound, IndexDamaged, ModelError, StoreError."""
        ...

    def conditions(
        self,
        class_name: str | None = None,
        where: str | None = None,
        duplicates: bool | None = None,
        exact: bool = False,
        min_similarity: float | None = None,
    ) -> Conditions:
        """What results must meet; what is None is as the settings say. Raises SettingError."""
        ...

    def decoders(self) -> DecoderPool:
        """Decoders for strangers' pictures; the caller closes them."""
        ...

    def fetcher(self) -> Fetcher:
        """A fetcher for photos that strangers name, never from inside the network; the caller closes it."""
        ...

    def status(self, most_problems: int) -> dict[str, Any]:
        """Where rows ended, the batches, the index, as `vetrina status --json`. Raises StoreError."""
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
        patience: how slowly a photo may come.
        most_waiting: requests that may wait for their turn; more are told to come back later.
        refresh_seconds: how often the store is asked whether there is something new.
    """

    token: str = ""
    prefix: str = ""
    dagster_url: str = ""
    most_upload_bytes: int = 20 << 20
    patience: Patience = PATIENCE
    most_waiting: int = 64
    refresh_seconds: float = 5.0
