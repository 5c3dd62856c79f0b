"""How pictures are fetched and decoded, as Dagster resources."""

import dagster as dg
from pydantic import Field

from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.decoding import DecodeLimits
from vetrina.pictures.fetching import Fetcher, FetchLimits


class FetcherResource(dg.ConfigurableResource):
    """Fetches pictures politely and within bounds."""

    concurrency: int = Field(description="Pictures at the same time (VETRINA_FETCH_CONCURRENCY).")
    per_host: int = Field(description="Of these, from one host (VETRINA_FETCH_PER_HOST).")
    attempts: int = Field(description="Tries for one picture (VETRINA_FETCH_ATTEMPTS).")
    deadline: float = Field(description="Seconds for one try in all (VETRINA_FETCH_DEADLINE).")
    max_bytes: int = Field(description="Largest picture file (VETRINA_MAX_PICTURE_BYTES).")
    allow_private: bool = Field(description="Private and loopback addresses may be asked (VETRINA_ALLOW_PRIVATE).")

    def open(self) -> Fetcher:
        """A fetcher; close it after use."""
        return Fetcher(
            FetchLimits(
                concurrency=self.concurrency,
                per_host=self.per_host,
                attempts=self.attempts,
                deadline=self.deadline,
                max_bytes=self.max_bytes,
                allow_private=self.allow_private,
            )
        )


class DecoderResource(dg.ConfigurableResource):
    """Decodes strangers' pictures in processes that may be killed."""

    workers: int = Field(description="Pictures worked on at the same time (VETRINA_WORKERS).")
    max_pixels: int = Field(description="Largest picture, in pixels (VETRINA_MAX_PIXELS).")
    min_side: int = Field(description="Smallest side of a usable picture, in pixels (VETRINA_MIN_SIDE).")

    def open(self) -> DecoderPool:
        """A pool of decoders; close it after use."""
        limits = DecodeLimits(max_pixels=self.max_pixels, min_side=self.min_side)
        return DecoderPool(self.workers, limits=limits)
