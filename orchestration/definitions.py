"""Everything that Dagster loads, from one function, so that tests and deployments can build their own."""

from typing import Any

import dagster as dg

from assets.catalog import catalog
from assets.crops import crops_and_labels
from assets.embeddings import embeddings
from assets.raw_images import raw_images
from assets.similar_products import similar_products
from assets.similarity_index import similarity_index
from orchestration.intake_jobs import large_file_job, sync_job
from orchestration.schedules import catalog_sync
from orchestration.sensors import registered_batches, watched_folder
from resources.configured import resources_of
from vetrina.errors import SettingError
from vetrina.settings import Settings

BATCH_JOB = "batch"
PUBLISH_JOB = "publish"

_EXECUTORS = {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}


def build_defs(**overrides: Any) -> dg.Definitions:
    """The definitions under the settings of the environment.

    Args:
        overrides: fields of `Settings` to use instead.

    Raises:
        SettingError: a setting cannot be used.
    """
    settings = Settings.from_environment(overrides=overrides)
    return dg.Definitions(
        assets=[catalog, raw_images, crops_and_labels, embeddings, similarity_index, similar_products],
        jobs=[
            dg.define_asset_job(
                BATCH_JOB,
                selection=["catalog", "raw_images", "crops", "label_table", "embeddings"],
                description="Everything that one catalog batch needs: rows, pictures, crops, vectors.",
            ),
            dg.define_asset_job(
                PUBLISH_JOB,
                selection=["similarity_index", "similar_products"],
                description="The index over all finished batches, and the table of similar products.",
            ),
            large_file_job(settings),
            sync_job(settings),
        ],
        schedules=[catalog_sync(settings)],
        sensors=[watched_folder(settings), registered_batches(BATCH_JOB)],
        resources=resources_of(settings),
        executor=_executor(settings.executor),
    )


def _executor(name: str) -> dg.ExecutorDefinition:
    if name not in _EXECUTORS:
        raise SettingError(f"VETRINA_EXECUTOR is {name!r}; use one of {', '.join(_EXECUTORS)}")
    return _EXECUTORS[name]


defs = build_defs()
