"""Dagster's sensors as the daemon works them, and runs that it would start."""

import dagster as dg

from assets.partitions import catalog_batch
from orchestration.definitions import BATCH_JOB, build_defs

ROWS = "id,image_url\n1,https://pics.example/1.jpg\n"
"""A catalog of one product."""


class Ticker:
    """Evaluates sensors as the daemon does: cursor kept, partitions added, each run key launched once."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursors: dict[str, str | None] = {}
        self.run_keys: list[str] = []

    def tick(self, name: str) -> tuple[list[dg.RunRequest], str]:
        """The new run requests of one tick, and what it said."""
        defs = build_defs()
        with dg.build_sensor_context(
            self.instance,
            self.cursors.get(name),
            definitions=defs,
            resources={"store": (defs.resources or {})["store"]},
            instance_ref=self.instance.get_ref(),
        ) as context:
            result = defs.resolve_sensor_def(name).evaluate_tick(context)
        for request in result.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        new = [request for request in result.run_requests or () if request.run_key not in self.run_keys]
        self.run_keys += [str(request.run_key) for request in new]
        self.cursors[name] = result.cursor
        return new, result.skip_message or ""

    def run(self, request: dg.RunRequest, job: str) -> dg.ExecuteInProcessResult:
        """Work a request in this process."""
        return (
            build_defs()
            .resolve_job_def(job)
            .execute_in_process(
                instance=self.instance,
                partition_key=request.partition_key,
                run_config=request.run_config or None,
                tags=request.tags,
                raise_on_error=False,
            )
        )

    @property
    def partitions(self) -> list[str]:
        return list(self.instance.get_dynamic_partitions(str(catalog_batch.name)))


def why(result: dg.ExecuteInProcessResult) -> str:
    """Of a job that failed once: what its step says."""
    (event,) = result.filter_events(lambda event: event.is_step_failure or event.is_step_up_for_retry)
    error = event.event_specific_data.error
    return str((error.cause or error).message)


def started(ticker: Ticker, request: dg.RunRequest, job: str) -> dg.DagsterRun:
    """The run that the daemon would start for a request, not worked."""
    told = {"dagster/partition": request.partition_key, "dagster/run_key": request.run_key}
    return ticker.instance.create_run_for_job(
        build_defs().resolve_job_def(job),
        run_config=request.run_config or None,
        tags={**request.tags, **{tag: value for tag, value in told.items() if value is not None}},
        status=dg.DagsterRunStatus.STARTED,
    )


def fail(ticker: Ticker, request: dg.RunRequest, job: str = BATCH_JOB) -> None:
    """The same, and it fails."""
    ticker.instance.report_run_failed(started(ticker, request, job))
