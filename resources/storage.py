"""The store, as a Dagster resource."""

import dagster as dg
from pydantic import Field

from vetrina.store import Store


class StoreResource(dg.ConfigurableResource):
    """Where everything is kept."""

    root: str = Field(description="A folder or s3://bucket/prefix (VETRINA_STORE).")

    def open(self) -> Store:
        """The store. Raises StoreError when its root cannot be used."""
        return Store(self.root)
