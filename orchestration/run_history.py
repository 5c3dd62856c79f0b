"""What the runs before and under way say, for sensors that must neither repeat nor wait for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterInstance

from orchestration.home import PID_TAG, process_is_gone

PARTITION, RUN_KEY = "dagster/partition", "dagster/run_key"
"""Run tags of Dagster's: the batch, and the key under which a sensor asked for the run."""
_ACTIVE = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
LOST_AFTER = 12 * 3600.0
"""Seconds without news after which a run counts as killed with its machine, and nobody told Dagster."""
_MOST = 10_000
"""Runs that are read: 2 s of a sensor's tick."""


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run as a sensor sees it.

    Attributes:
        run_id: part of the run key of the one that is asked for after it, which no run can have had then.
        active: queued or under way; a run whose process is known to be gone is not.
        ended: when it ended, or was last heard of: seconds since 1970.
    """

    run_id: str
    tags: dict[str, str]
    active: bool
    ended: float


def runs_of(
    instance: DagsterInstance,
    job: str,
    now: float,
    tags: dict[str, str] | None = None,
    *,
    active_only: bool = False,
    lost_after: float = LOST_AFTER,
) -> list[PastRun]:
    """Runs of a job, newest first, the last thousands of them.

    Args:
        now: seconds since 1970.
        tags: only runs with these.
    """
    chosen = dg.RunsFilter(job_name=job, tags=tags or {}, statuses=_ACTIVE if active_only else [*_ACTIVE, *_ENDED])
    return [_past(record, now, lost_after) for record in instance.get_run_records(chosen, limit=_MOST)]


def _past(record: dg.RunRecord, now: float, lost_after: float) -> PastRun:
    heard = record.update_timestamp.timestamp()
    run = record.dagster_run
    process = run.tags.get(PID_TAG)
    lost = now - heard > lost_after or (process is not None and process_is_gone(process))
    active = run.status in _ACTIVE and not lost
    return PastRun(run.run_id, dict(run.tags), active, record.end_time or heard)


def back_off(attempts: int, first: float, most: float) -> float:
    """Seconds to wait after that many failed attempts: `first`, doubled each time, up to `most`."""
    return 0.0 if attempts == 0 else min(first * 2 ** min(attempts - 1, 30), most)


def under_way(runs: Sequence[PastRun]) -> int:
    """How many of the runs are active."""
    return sum(run.active for run in runs)
