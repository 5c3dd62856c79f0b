"""The shop as the web serves it, under the settings of a deployment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestration.answers import shop_status
from orchestration.deployment import Deployment
from orchestration.upkeep import roll_back
from resources.configured import fetcher_of
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.fetching import Fetcher
from vetrina.search.window import Conditions, ShopWindow
from vetrina.store import Store

_PHOTO_SECONDS = 15.0
"""Within which a photo must come from the address that a caller named."""


class ServedShop:
    """A deployment as `web.shop.Shop`."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    @property
    def store(self) -> Store:
        """See `web.shop.Shop`."""
        return self._deployment.store

    def window(self) -> ShopWindow:
        """See `web.shop.Shop`."""
        return self._deployment.window()

    def conditions(
        self,
        class_name: str | None = None,
        where: str | None = None,
        duplicates: bool | None = None,
        exact: bool = False,
        min_similarity: float | None = None,
    ) -> Conditions:
        """See `web.shop.Shop`."""
        return self._deployment.conditions(class_name, where, duplicates, exact, min_similarity)

    def decoders(self) -> DecoderPool:
        """See `web.shop.Shop`."""
        return self._deployment.decoder.open()

    def fetcher(self) -> Fetcher:
        """See `web.shop.Shop`."""
        settings = self._deployment.settings
        # Whatever the settings allow to catalogs: these addresses are a stranger's, who is waiting for the answer.
        strict = replace(
            settings,
            allow_private=False,
            fetch_attempts=1,
            fetch_deadline=min(settings.fetch_deadline, _PHOTO_SECONDS),
        )
        return fetcher_of(strict).open()

    def status(self, most_problems: int) -> dict[str, Any]:
        """See `web.shop.Shop`."""
        return shop_status(self._deployment, most_problems)

    def roll_back(self, to: str | None) -> dict[str, Any]:
        """See `web.shop.Shop`."""
        return roll_back(self._deployment, to)
