"""How the index and the similar-products table are made, as a Dagster resource."""

import dagster as dg
from pydantic import Field

from vetrina.index.settings import IndexSettings, TableSettings
from vetrina.settings import projection_dims_of


class IndexResource(dg.ConfigurableResource):
    """Settings of the index and of the table made from it."""

    projection_dims: str = Field(description="Dimensions kept (PCA); 0: all; or auto (VETRINA_PROJECTION_DIMS).")
    trees: int = Field(description="Annoy trees; 0: chosen for the target (VETRINA_TREES).")
    search_k: int = Field(description="Annoy nodes a query visits; 0: chosen (VETRINA_SEARCH_K).")
    recall_target: float = Field(description="Share of the true 10 nearest to find (VETRINA_RECALL_TARGET).")
    query_ms: float = Field(0.0, description="CPU time a search may take, ms; 0: no limit (VETRINA_QUERY_MS).")
    serve_with: str = Field(description="Search by annoy, exact or auto (VETRINA_SERVE_WITH).")
    neighbours: int = Field(description="Similar products for each product (VETRINA_NEIGHBOURS).")
    device: str = Field(description="cpu, gpu or auto (VETRINA_INDEX_DEVICE).")
    same_class: bool = Field(description="Products of the same class come first (VETRINA_SAME_CLASS).")
    hide_duplicates: bool = Field(description="None shows a picture again (VETRINA_HIDE_DUPLICATES).")
    table_by: str = Field("auto", description="The table: exact, by the index, or auto (VETRINA_TABLE).")

    def settings(self) -> IndexSettings:
        """As the index knows them. Raises SettingError."""
        return IndexSettings(
            projection_dims=projection_dims_of(self.projection_dims),
            trees=self.trees or None,
            search_k=self.search_k or None,
            recall_target=self.recall_target,
            query_ms=self.query_ms,
            serve_with=self.serve_with,
        )

    def table(self) -> TableSettings:
        """Those of the table. Raises SettingError."""
        return TableSettings(self.neighbours, self.same_class, self.hide_duplicates, self.table_by)
