"""The table of similar products, for the shop's own database."""

import dagster as dg

from assets.similarity_index import similarity_index
from assets.steps import GPU_POOL, GPU_STEP
from resources.index import IndexResource
from resources.storage import StoreResource
from vetrina.errors import NotFound
from vetrina.index.publishing import publish_table
from vetrina.index.versions import current


@dg.asset(
    deps=[similarity_index],
    group_name="search",
    kinds={"parquet", "json"},
    pool=GPU_POOL,
    op_tags=GPU_STEP,
    description="The most similar products of every product, as Parquet and as JSON.",
)
def similar_products(
    context: dg.AssetExecutionContext, store: StoreResource, index: IndexResource
) -> dg.MaterializeResult:
    """Write the table of the current index version."""
    kept = store.open()
    published = current(kept)
    if published is None:
        raise NotFound("There is no index yet; materialize similarity_index first")
    report = publish_table(kept, published, index.neighbours, same_class=index.same_class, device=index.device)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": report.rows,
            "products": report.products,
            "k": index.neighbours,
            "same_class_first": index.same_class,
            "built": report.built,
            "index_version": published.version,
            "path": report.folder,
        }
    )
