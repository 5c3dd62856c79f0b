"""The shop as the web serves it, under the settings of a deployment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from orchestration.deployment import Deployment
from orchestration.home import home_folder
from orchestration.retrying import RetryProcesses
from orchestration.upkeep import roll_back
from resources.configured import fetcher_of
from vetrina.catalog.batches import Batch, is_worked
from vetrina.coverage import CoverageReader
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.fetching import Fetcher
from vetrina.quality.batch import judge_coverage
from vetrina.quality.drift import earlier_figures, judge_class_mix, judge_neighbour_distance, kept_figures
from vetrina.quality.verdict import Verdict
from vetrina.search.conditions import Usual
from vetrina.search.window import ShopWindow
from vetrina.settings import Settings
from vetrina.store import Store
from web.server.listening import Limits
from web.shop import Options

_PHOTO_SECONDS = 15.0
"""Within which a photo must come from the address that a caller named."""


def options_of(settings: Settings, prefix: str) -> Options:
    """How the settings have the shop served."""
    return Options(
        token=settings.serve_token,
        prefix=prefix,
        dagster_url=settings.dagster_url,
        most_upload_bytes=settings.serve_max_upload,
        most_picture_bytes=settings.max_picture_bytes,
        fetch=settings.serve_fetch,
        most_waiting=settings.serve_waiting,
        refresh_seconds=settings.serve_refresh,
    )


def limits_of(settings: Settings) -> Limits:
    """What the settings let connections take."""
    return Limits(connections=settings.serve_connections)


class ServedShop:
    """A deployment as `web.shop.Shop`.

    Raises:
        StoreError: there can be no store at that place.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._store = deployment.store

    @property
    def store(self) -> Store:
        """See `web.shop.Shop`."""
        return self._store

    def window(self) -> ShopWindow:
        """See `web.shop.Shop`."""
        return self._deployment.window()

    @property
    def usual(self) -> Usual:
        """See `web.shop.Shop`."""
        return self._deployment.usual

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
            max_picture_bytes=min(settings.max_picture_bytes, settings.serve_max_upload),
            fetch_attempts=1,
            fetch_deadline=min(settings.fetch_deadline, _PHOTO_SECONDS),
        )
        return fetcher_of(strict).open()

    def coverage(self) -> CoverageReader:
        """See `web.shop.Shop`."""
        return self._deployment.coverage()

    def verdicts(self, batch: Batch) -> list[Verdict]:
        """See `web.shop.Shop`."""
        settings, store = self._deployment.settings, self.store
        embeddings = self._deployment.extractor.embeddings_fingerprint(self._deployment.detector)
        found = [judge_coverage(store, batch, embeddings, settings.coverage_warning)] if is_worked(store, batch) else []
        if (figures := kept_figures(store, batch, embeddings)) is not None:
            earlier = earlier_figures(store, batch, embeddings)
            found.append(judge_class_mix(figures, earlier, settings.drift_warning))
            found.append(judge_neighbour_distance(figures, earlier, settings.drift_warning))
        return found

    def retries(self, ended: Callable[[], None]) -> RetryProcesses:
        """See `web.shop.Shop`."""
        return RetryProcesses(home_folder(), ended)

    def roll_back(self, to: str | None) -> dict[str, Any]:
        """See `web.shop.Shop`."""
        return roll_back(self._deployment, to)
