"""Batches whose run failed, and when it is their turn again: what came by itself must not wait for a person.

A store or a server that was away for an hour fails every batch of that hour. Each is tried again a minute later, then
after twice as long each time; what has failed often stays failed, for a person to look at.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterInstance

from orchestration.run_history import back_off, runs_of
from vetrina.catalog.batches import Batch, is_worked, list_batches
from vetrina.store import Store

MOST_TRIES = 8
"""Runs of one batch, the first included: the last comes about two hours after it."""

_PARTITION = "dagster/partition"
_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 3600.0
_LOOKED_BACK = timedelta(days=2)
_MOST_RUNS = 500


def due_again(instance: DagsterInstance, store: Store, job: str, now: float) -> list[tuple[Batch, int]]:
    """Batches to be worked again now, each with how often its run failed.

    Only those that the watched folder or a sync brought: what a command left undone, its person sees.

    Args:
        now: seconds since 1970.
    """
    since = datetime.fromtimestamp(now, UTC) - _LOOKED_BACK
    wanted = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.FAILURE], created_after=since)
    failures: defaultdict[str, list[float]] = defaultdict(list)
    for record in instance.get_run_records(wanted, limit=_MOST_RUNS):
        key = record.dagster_run.tags.get(_PARTITION)
        if key is not None:
            failures[key].append(record.end_time or record.update_timestamp.timestamp())
    resting = {
        key
        for key, ended in failures.items()
        if len(ended) >= MOST_TRIES or now - max(ended) < back_off(len(ended), _FIRST_PAUSE, _LONGEST_PAUSE)
    }
    if failures.keys() <= resting:
        return []
    active = {run.tags.get(_PARTITION) for run in runs_of(instance, job, now, active_only=True)}
    return [
        (batch, len(failures[batch.key]))
        for batch in list_batches(store)
        if batch.key in failures.keys() - resting - active and batch.origin != "command" and not is_worked(store, batch)
    ]
