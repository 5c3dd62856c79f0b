"""The parts that commands outside a run need, opened as the settings say and not before they are used."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager
from functools import cached_property

from resources.configured import decoder_of, detector_of, extractor_of, index_of
from resources.index import IndexResource
from resources.models import DetectorResource, ExtractorResource, model_fingerprints, shop_window
from resources.pictures import DecoderResource
from vetrina.catalog.batches import Batch
from vetrina.coverage import CoverageReader
from vetrina.index.outdated import outdated_batches
from vetrina.index.publishing import rehearsed_index
from vetrina.index.reader import Index
from vetrina.index.sources import index_sources
from vetrina.index.versions import current, verify
from vetrina.index.wanted import Wanted
from vetrina.search.conditions import Usual
from vetrina.search.window import ShopWindow
from vetrina.settings import Settings
from vetrina.store import Store, file_cache


class Deployment:
    """One shop under one set of settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def store(self) -> Store:
        """The store. Raises StoreError."""
        return Store(self.settings.store, cache=file_cache(self.settings.cache, self.settings.cache_gib))

    @cached_property
    def detector(self) -> DetectorResource:
        """The detector and its selection."""
        return detector_of(self.settings)

    @cached_property
    def extractor(self) -> ExtractorResource:
        """The extractor."""
        return extractor_of(self.settings)

    @cached_property
    def decoder(self) -> DecoderResource:
        """How pictures are decoded."""
        return decoder_of(self.settings)

    def with_extractor(self, handle: str) -> Deployment:
        """The same shop as it would be with another extractor."""
        return Deployment(dataclasses.replace(self.settings, extractor=handle))

    def rehearsed_index(self) -> AbstractContextManager[Index]:
        """The index that would be published now, made aside; see `rehearsed_index`."""
        fingerprints = model_fingerprints(self.detector, self.extractor)
        return rehearsed_index(
            self.store,
            fingerprints["embeddings"],
            self.index.settings(),
            fingerprints,
            self.index.device,
            extractor=self.extractor.handle,
        )

    def window(self) -> ShopWindow:
        """The shop window. Raises NotFound, IndexDamaged, ModelError."""
        return shop_window(self.store, self.detector, self.extractor)

    @property
    def usual(self) -> Usual:
        """What results must meet where a question does not say."""
        return Usual(distinct=self.settings.hide_duplicates, min_similarity=self.settings.min_similarity)

    @cached_property
    def index(self) -> IndexResource:
        """How the index and its table are made."""
        return index_of(self.settings)

    def outdated(self) -> list[Batch]:
        """Batches embedded by other models or settings only: without a new run the next index would lose them."""
        return outdated_batches(self.store, self.extractor.embeddings_fingerprint(self.detector))

    def wanted(self) -> Wanted:
        """What would be published now. Raises ModelError, SettingError, StoreError."""
        fingerprints = model_fingerprints(self.detector, self.extractor)
        return Wanted(
            index_sources(self.store, fingerprints["embeddings"]),
            fingerprints,
            self.index.settings(),
            self.index.table(),
        )

    def coverage(self, most_problems: int = 20) -> CoverageReader:
        """Where rows ended, against the current index."""
        embeddings = self.extractor.embeddings_fingerprint(self.detector)
        published = current(self.store)
        indexed = set(verify(self.store, published).sources.items()) if published is not None else set()
        made = index_sources(self.store, embeddings).items()
        return CoverageReader(
            self.store,
            labels=self.detector.labels_fingerprint(),
            embeddings=embeddings,
            indexed={key for key, digest in made if (key, digest) in indexed},
            most_problems=most_problems,
        )
