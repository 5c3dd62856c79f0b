"""Everything that Dagster loads, from one function, so that tests and deployments can build their own."""

from typing import Any

import dagster as dg

from assets.catalog import catalog
from assets.crops import crops_and_labels
from assets.embeddings import embeddings
from assets.evaluation import evaluation
from assets.models import training_set, tuned_extractor
from assets.partitions import many_at_once
from assets.raw_images import raw_images
from assets.similar_products import similar_products
from assets.similarity_index import similarity_index
from assets.versions import code_versions
from orchestration.executors import executor_of, run_tags
from orchestration.intake_jobs import large_file_job, sync_job
from orchestration.jobs import BATCH_JOB, FINETUNE_JOB, PUBLISH_JOB
from orchestration.model_change import model_change_sensor
from orchestration.rebuild import rebuild_sensor
from orchestration.schedules import catalog_sync
from orchestration.sensors import registered_batches, watched_folder
from orchestration.trial_job import trial_job
from resources.configured import detector_of, evaluation_of, extractor_of, index_of, resources_of
from vetrina.settings import Settings


def build_defs(**overrides: Any) -> dg.Definitions:
    """The definitions under the settings of the environment.

    Args:
        overrides: fields of `Settings` to use instead.

    Raises:
        SettingError: a setting cannot be used.
        ModelError: a model's handle is unknown.
    """
    settings = Settings.from_environment(overrides=overrides)
    tags = run_tags(settings)
    return dg.Definitions(
        assets=_assets(settings),
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
            dg.define_asset_job(
                FINETUNE_JOB,
                selection=["training_set", "tuned_extractor"],
                description="An extractor taught with the shop's own labels; both steps want the same label and split.",
                tags=tags,
            ),
            large_file_job(settings),
            sync_job(settings),
            trial_job(tags),
        ],
        schedules=[catalog_sync(settings)],
        sensors=[
            watched_folder(settings),
            registered_batches(BATCH_JOB),
            rebuild_sensor(settings),
            model_change_sensor(settings),
        ],
        resources=resources_of(settings),
        executor=executor_of(settings),
    )


def _assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All assets, with what they are made by and whose they are."""
    versions = code_versions(detector_of(settings), extractor_of(settings), index_of(settings), evaluation_of(settings))

    def signed(spec: dg.AssetSpec) -> dg.AssetSpec:
        tags = {**spec.tags, "domain": "visual-search"}
        return spec.replace_attributes(
            code_version=versions[spec.key.to_user_string()], owners=["team:vetrina"], tags=tags
        )

    # The backfill policy is set here and not where the assets are: as a decorator's argument it is a beta of Dagster.
    of_a_batch = [
        asset.with_attributes(backfill_policy=many_at_once)
        for asset in (catalog, raw_images, crops_and_labels, embeddings)
    ]
    of_the_shop = (similarity_index, similar_products, evaluation, training_set, tuned_extractor)
    return [asset.map_asset_specs(signed) for asset in (*of_a_batch, *of_the_shop)]


defs = build_defs()
