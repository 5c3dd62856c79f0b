"""The shop as the web serves it, under the settings of a deployment."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from orchestration.answers import shop_status
from orchestration.deployment import Deployment
from orchestration.upkeep import roll_back
from resources.configured import fetcher_of
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.fetching import Fetcher
from vetrina.search.window import Conditions, ShopWindow
from vetrina.store import Store


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
        exclude: Collection[str] = (),
    ) -> Conditions:
        """See `web.shop.Shop`."""
        return self._deployment.conditions(class_name, where, duplicates, exact, min_similarity, exclude)

    def decoders(self) -> DecoderPool:
        """See `web.shop.Shop`."""
        return self._deployment.decoder.open()

    def fetcher(self) -> Fetcher:
        """See `web.shop.Shop`."""
        return fetcher_of(self._deployment.settings).open()

    def status(self, most_problems: int) -> dict[str, Any]:
        """See `web.shop.Shop`."""
        return shop_status(self._deployment, most_problems)

    def roll_back(self, to: str | None) -> dict[str, Any]:
        """See `web.shop.Shop`."""
        return roll_back(self._deployment, to)
