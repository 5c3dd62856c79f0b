"""Sensors of intake: thin shells that look at the watched folder and at the store, and say what they did.

Two sensors, joined by the store alone. `watched_folder` registers batches; `registered_batches` launches one run for
each batch that the watched folder or a sync registered. Whatever dies between the two, the batch is in the store and
its run comes with the next tick. A batch that `vetrina add` or `vetrina sync` registered is worked by that command.
"""

import time

import dagster as dg

from assets.partitions import catalog_batch
from orchestration.failed_batches import due_again
from orchestration.intake_jobs import AGAIN_IF_IT_DIES, LARGE_FILE_JOB
from orchestration.large_files import runs_of_large
from resources.configured import read_options_of
from resources.storage import StoreResource
from vetrina.catalog.batches import Batch, batches_to_launch
from vetrina.catalog.problems import count_set_aside
from vetrina.catalog.watching import WatchReport, watch
from vetrina.errors import VetrinaError
from vetrina.settings import Settings
from vetrina.words import in_utf8

SOURCE_TAG = "vetrina/source"

_SECONDS_BETWEEN_TICKS = 15
_SECONDS_OF_WORK = 20.0
"""Of one tick, and of one file in it: a tick may take 60 s before Dagster gives it up."""
_LARGE_BYTES = 64 << 20
_RUNS_OF_ONE_TICK = 100
_MOST_SHOWN = 10


def watched_folder(settings: Settings) -> dg.SensorDefinition:
    """The sensor that makes each new or changed catalog file of VETRINA_WATCH a batch."""

    @dg.sensor(
        name="watched_folder",
        job_name=LARGE_FILE_JOB,
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Registers a batch for each new or changed catalog file in VETRINA_WATCH, once it is whole.",
    )
    def sensor(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult:
        if not settings.watch:
            return dg.SensorResult(skip_reason="No folder is watched; set VETRINA_WATCH to a folder or s3:// prefix")
        try:
            kept = store.open()
            report = watch(
                kept,
                settings.watch,
                read_options_of(settings),
                settle=settings.watch_settle,
                budget=_SECONDS_OF_WORK,
                large_bytes=_LARGE_BYTES,
            )
            large = runs_of_large(context.instance, kept, settings.watch, report.large, time.time())
            standing = count_set_aside(kept)
        except VetrinaError as error:
            said = in_utf8(str(error))
            context.log.error(said)
            return dg.SensorResult(skip_reason=said)
        for batch in report.registered:
            context.log.info(f"Registered batch {batch.key} from {batch.source}")
        for source, reason in report.aside:
            context.log.warning(f"Set aside {source}: {reason}")
        if large:
            return dg.SensorResult(run_requests=large)
        return dg.SensorResult(skip_reason=_said(settings.watch, report, standing))

    return sensor


def registered_batches(job_name: str) -> dg.SensorDefinition:
    """The sensor that launches `job_name` for each registered batch which no command works."""

    @dg.sensor(
        name="registered_batches",
        job_name=job_name,
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Launches one run for each batch that the watched folder or a sync has registered, and another "
        "one, later and later, for those whose run failed.",
    )
    def sensor(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult:
        # The cursor only spares work: without it every batch is looked at anew, and its run key keeps it single.
        through = int(context.cursor or 0)
        try:
            kept = store.open()
            new, wanted = batches_to_launch(kept, through, _RUNS_OF_ONE_TICK)
            left = {batch.key for batch in wanted if batch.origin == "command"}
            again = due_again(context.instance, kept, job_name, time.time(), left)
        except VetrinaError as error:
            context.log.error(str(error))
            return dg.SensorResult(skip_reason=str(error), cursor=context.cursor)
        nothing = "No batch was registered since the last tick"
        if new:
            nothing = f"{len(new)} new batches are worked already, or by a command"
        keys = list(dict.fromkeys(batch.key for batch in (*new, *wanted)))
        return dg.SensorResult(
            run_requests=[*(_run_of(batch, batch.key) for batch in wanted), *(_run_of(*retry) for retry in again)],
            skip_reason=None if wanted or again else nothing,
            cursor=str(new[-1].sequence if new else through),
            dynamic_partitions_requests=[catalog_batch.build_add_request(keys)] if keys else [],
        )

    return sensor


def _run_of(batch: Batch, run_key: str) -> dg.RunRequest:
    return dg.RunRequest(
        partition_key=batch.key, run_key=run_key, tags={SOURCE_TAG: batch.source[-250:], **AGAIN_IF_IT_DIES}
    )


def _said(root: str, report: WatchReport, standing: int) -> str:
    """What a visit did, in one line."""
    parts = []
    if report.registered:
        keys = [batch.key for batch in report.registered]
        more = f" and {len(keys) - _MOST_SHOWN} more" if len(keys) > _MOST_SHOWN else ""
        parts.append(
            f"registered {', '.join(keys[:_MOST_SHOWN])}{more} (their runs are launched by registered_batches)"
        )
    if report.repeated:
        parts.append(f"{report.repeated} with content that was registered before")
    if report.waiting:
        parts.append(f"{report.waiting} not whole or not reachable yet")
    if report.large:
        parts.append(f"{len(report.large)} large, whose run is under way or comes later")
    if report.left:
        parts.append(f"{report.left} left for the next tick")
    parts += [f"set aside: {reason}" for _, reason in report.aside[:_MOST_SHOWN]]
    if standing:
        parts.append(f"{standing} set aside in all; `vetrina status` lists them")
    return in_utf8(f"{root}: {'; '.join(parts) or 'nothing new'}")
