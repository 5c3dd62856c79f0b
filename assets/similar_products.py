"""The table of similar products, for the shop's own database."""

import dagster as dg

from assets.checks import TABLE_CHECKS, results
from assets.failures import told_to_people
from assets.progress import progress_of
from assets.similarity_index import similarity_index
from assets.steps import GPU_POOL, GPU_STEP
from resources.index import IndexResource
from resources.pictures import DecoderResource
from resources.storage import StoreResource
from vetrina.errors import NotFound
from vetrina.index.publishing import TABLE, publish_table
from vetrina.index.versions import current
from vetrina.quality.published import judge_table


@dg.asset(
    deps=[similarity_index],
    check_specs=TABLE_CHECKS,
    group_name="search",
    kinds={"parquet", "json"},
    pool=GPU_POOL,
    op_tags=GPU_STEP,
    description="The most similar products of every product, as Parquet and as JSON.",
)
def similar_products(
    context: dg.AssetExecutionContext, store: StoreResource, index: IndexResource, decoder: DecoderResource
) -> dg.MaterializeResult:
    """Write the table of the current index version."""
    kept = store.open()
    with told_to_people():
        published = current(kept)
        if published is None:
            raise NotFound("There is no index yet; materialize similarity_index first")
        report = publish_table(
            kept,
            published,
            index.table(),
            device=index.device,
            workers=decoder.workers,
            progress=progress_of(context, "products"),
            print_progress=progress_of(context, "prints of pictures"),
        )
    verdicts = judge_table(kept, published, f"{report.folder}/{TABLE}", index.neighbours, report.short)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.folder.rpartition("/")[2]),
        check_results=results(verdicts, "similar_products"),
        metadata={
            "dagster/row_count": report.rows,
            "products": report.products,
            "k": index.neighbours,
            "same_class_first": index.same_class,
            "hides_duplicates": index.hide_duplicates,
            "fewer_than_k": report.short,
            "built": report.built,
            "made_by": report.made_by,
            "why": report.why,
            **(
                {"recall": report.recall["recall"], "recall_lower_95": report.recall["lower_95"]}
                if report.recall
                else {}
            ),
            "index_version": published.version,
            "path": report.folder,
        },
    )
