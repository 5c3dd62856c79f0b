"""The store, as a Dagster resource."""

import dagster as dg
from pydantic import Field

from vetrina.store import Store, file_cache


class StoreResource(dg.ConfigurableResource):
    """Where everything is kept."""

    root: str = Field(description="A folder or s3://bucket/prefix (VETRINA_STORE).")

    cache: str = Field(default="", description="Folder for local copies of an S3 store's files (VETRINA_CACHE).")
    cache_gib: float = Field(default=10.0, description="Most that they take, in GiB (VETRINA_CACHE_GIB).")

    def open(self) -> Store:
        """The store. Raises StoreError when its root cannot be used."""
        return Store(self.root, cache=file_cache(self.cache, self.cache_gib))
