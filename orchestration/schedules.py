"""What runs by the clock: the sync of the whole catalog."""

import dagster as dg

from orchestration.intake_jobs import AGAIN_IF_IT_DIES, NO_SOURCE, SYNC_JOB
from vetrina.errors import SettingError
from vetrina.settings import Settings


def catalog_sync(settings: Settings) -> dg.ScheduleDefinition:
    """The schedule that syncs VETRINA_SYNC_SOURCE. Raises SettingError for an unusable cron line or time zone.

    The work is a job's, not the tick's: a tick may take a minute, a large catalog takes longer to fetch.
    """

    def requests(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return dg.RunRequest(tags=AGAIN_IF_IT_DIES) if settings.sync_source else dg.SkipReason(NO_SOURCE)

    try:
        return dg.ScheduleDefinition(
            name="catalog_sync",
            job_name=SYNC_JOB,
            cron_schedule=settings.sync_cron,
            execution_timezone=settings.sync_time_zone,
            execution_fn=requests,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Syncs VETRINA_SYNC_SOURCE with the shop by VETRINA_SYNC_CRON.",
        )
    except dg.DagsterInvalidDefinitionError as error:
        raise SettingError(
            f"VETRINA_SYNC_CRON is {settings.sync_cron!r} in the time zone {settings.sync_time_zone!r} "
            f"(VETRINA_SYNC_TIME_ZONE); use a cron line of five fields such as '0 3 * * *', and a zone such as UTC"
        ) from error
