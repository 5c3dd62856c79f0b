"""Jobs that take catalogs in where a tick has no time: a large file of the watched folder, and the scheduled sync.

Both only register a batch; the sensor `registered_batches` launches its run.
"""

import dataclasses
from typing import Any

import dagster as dg

from orchestration.executors import run_tags
from resources.configured import read_options_of, sync_order_of
from resources.storage import StoreResource
from vetrina.catalog.syncing import SyncResult, sync_catalog
from vetrina.catalog.watching import take_large
from vetrina.errors import CatalogError, SourceUnreachable
from vetrina.settings import Settings

LARGE_FILE_JOB = "take_large_file"
SYNC_JOB = "sync"
_LARGE_FILE_OP = "register_large_file"

AGAIN_IF_IT_DIES = {"dagster/max_retries": "2", "dagster/retry_on_asset_or_op_failure": "false"}
"""Run tags: a run whose process dies is started anew (`run_retries` in dagster.yaml); one that fails says why."""

_AGAIN = dg.RetryPolicy(max_retries=3, delay=60, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


def large_file_config(name: str) -> dict[str, Any]:
    """Run configuration of the job for one file of the watched folder."""
    return {"ops": {_LARGE_FILE_OP: {"config": {"name": name}}}}


def large_file_job(settings: Settings) -> dg.JobDefinition:
    """The job that registers a file of the watched folder which is too large for a tick."""

    @dg.op(
        name=_LARGE_FILE_OP,
        config_schema={"name": dg.Field(str, description="The file's name in VETRINA_WATCH.")},
        retry_policy=_AGAIN,
        description="Reads a large catalog file of the watched folder to its end and registers it as a batch.",
    )
    def take(context: dg.OpExecutionContext, store: StoreResource) -> None:
        try:
            report = take_large(store.open(), settings.watch, context.op_config["name"], read_options_of(settings))
        except CatalogError as error:
            raise _failure(error) from None  # the reason is all that helps
        for _, reason in report.aside:
            raise dg.Failure(f"Set aside: {reason}", allow_retries=False)
        for batch in report.registered:
            context.log.info(f"Registered batch {batch.key}; registered_batches launches its run")

    @dg.job(
        name=LARGE_FILE_JOB,
        executor_def=dg.in_process_executor,
        tags=dict(run_tags(settings)),
        description="A file of the watched folder that is too large for a tick becomes a batch.",
    )
    def job() -> None:
        take()

    return job


def sync_job(settings: Settings) -> dg.JobDefinition:
    """The job that syncs VETRINA_SYNC_SOURCE."""

    @dg.op(
        name="sync_catalog",
        config_schema={
            "confirm_removals": dg.Field(
                bool, default_value=False, description="Remove what the catalog lacks, however much it is."
            )
        },
        retry_policy=_AGAIN,
        description="Fetches the catalog if it changed; what differs from the shop becomes a batch.",
    )
    def sync(context: dg.OpExecutionContext, store: StoreResource) -> None:
        order = sync_order_of(settings)
        if not order.source:
            raise dg.Failure(NO_SOURCE, allow_retries=False)
        order = dataclasses.replace(order, confirmed=context.op_config["confirm_removals"])
        try:
            result = sync_catalog(store.open(), order)
        except CatalogError as error:
            raise _failure(error) from None  # the reason is all that helps
        context.add_output_metadata(_metadata(result))
        for batch in result.left:
            context.log.info(f"Batch {batch.key} was left undone by a command; registered_batches launches its run")
        context.log.info(
            result.skipped
            if result.batch is None
            else f"Registered batch {result.batch.key}; registered_batches launches its run"
        )

    @dg.job(
        name=SYNC_JOB,
        executor_def=dg.in_process_executor,
        tags=dict(run_tags(settings)),
        description="VETRINA_SYNC_SOURCE as a snapshot: what changed becomes a batch, what vanished is removed.",
    )
    def job() -> None:
        sync()

    return job


NO_SOURCE = "Nothing is synced; set VETRINA_SYNC_SOURCE to the path or address of a whole catalog"


def _failure(error: CatalogError) -> dg.Failure:
    # Only what may pass by itself is worth another try.
    return dg.Failure(str(error), allow_retries=isinstance(error, SourceUnreachable))


def _metadata(result: SyncResult) -> dict[str, Any]:
    said: dict[str, Any] = {"source": result.source, "catalog": result.catalog}
    if result.skipped:
        said["skipped"] = result.skipped
    if result.batch is not None:
        said["batch"] = result.batch.key
    if result.left:
        said["left"] = [batch.key for batch in result.left]
    if result.difference is not None:
        said |= dataclasses.asdict(result.difference)
    return said
