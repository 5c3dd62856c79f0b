"""Everything that Dagster loads, from one function, so that tests and deployments can build their own."""

from typing import Any

import dagster as dg

from assets.catalog import catalog
from assets.crops import crops_and_labels
from assets.embeddings import embeddings
from assets.raw_images import raw_images
from assets.similar_products import similar_products
from assets.similarity_index import similarity_index
from orchestration.executors import executor_of, run_tags
from resources.configured import resources_of
from vetrina.settings import Settings

BATCH_JOB = "batch"
PUBLISH_JOB = "publish"


def build_defs(**overrides: Any) -> dg.Definitions:
    """The definitions under the settings of the environment.

    Args:
        overrides: fields of `Settings` to use instead.

    Raises:
        SettingError: a setting cannot be used.
    """
    settings = Settings.from_environment(overrides=overrides)
    tags = run_tags(settings)
    return dg.Definitions(
        assets=[catalog, raw_images, crops_and_labels, embeddings, similarity_index, similar_products],
        jobs=[
            dg.define_asset_job(
                BATCH_JOB,
                selection=["catalog", "raw_images", "crops", "label_table", "embeddings"],
                description="Everything that one catalog batch needs: rows, pictures, crops, vectors.",
                tags=tags,
            ),
            dg.define_asset_job(
                PUBLISH_JOB,
                selection=["similarity_index", "similar_products"],
                description="The index over all finished batches, and the table of similar products.",
                tags=tags,
            ),
        ],
        resources=resources_of(settings),
        executor=executor_of(settings),
    )


defs = build_defs()
