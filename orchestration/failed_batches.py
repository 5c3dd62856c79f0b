"""Batches whose run failed, and when it is their turn again: what came by itself must not wait for a person.

A store or a server that was away for an hour fails every batch of that hour. Each is tried again a minute later, then
after twice as long each time; what has failed often stays failed, for a person to look at.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterInstance

from orchestration.run_history import PARTITION, RUN_KEY, back_off, runs_of
from vetrina.catalog.batches import Batch, is_worked, list_batches
from vetrina.store import Store

MOST_TRIES = 8
"""Runs of one batch, the first included: the last comes about two hours after it."""

_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 3600.0
_LOOKED_BACK = timedelta(days=2)
_MOST_RUNS = 10_000
"""Failed runs that are read, the newest first: 1250 batches that failed each time, and 2 s of a tick."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """The newest failed run of a batch: how many there were with it, which it is, and when it ended."""

    tries: int
    run_id: str
    ended: float


def due_again(
    instance: DagsterInstance, store: Store, job: str, now: float, taken_over: Collection[str]
) -> list[tuple[Batch, str]]:
    """Batches to be worked again now, each with the run key of its next run.

    Only those that the watched folder or a sync brought, and only by what became of the runs that were launched for
    that: what a command left undone, its person sees.

    Args:
        now: seconds since 1970.
        taken_over: keys of batches that a command registered and left to the sensor.
    """
    failures = _newest_failures(instance, job, now)
    due = {
        key
        for key, failure in failures.items()
        if failure.tries < MOST_TRIES and now - failure.ended >= back_off(failure.tries, _FIRST_PAUSE, _LONGEST_PAUSE)
    }
    if not due:
        return []
    due -= {run.tags.get(PARTITION, "") for run in runs_of(instance, job, now, active_only=True)}
    return [
        (batch, _next_key(batch.key, failures[batch.key]))
        for batch in list_batches(store)
        if batch.key in due and (batch.origin != "command" or batch.key in taken_over) and not is_worked(store, batch)
    ]


def _newest_failures(instance: DagsterInstance, job: str, now: float) -> dict[str, _Failure]:
    """Batch key → the newest failed run of those that were launched for it by itself."""
    since = datetime.fromtimestamp(now, UTC) - _LOOKED_BACK
    wanted = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.FAILURE], created_after=since)
    found: dict[str, _Failure] = {}
    for record in instance.get_run_records(wanted, limit=_MOST_RUNS):
        run = record.dagster_run
        key = run.tags.get(PARTITION, "")
        tries = _tries(key, run.tags.get(RUN_KEY, ""))
        if tries and key not in found:
            found[key] = _Failure(tries, run.run_id, record.end_time or record.update_timestamp.timestamp())
    return found


def _next_key(batch: str, failure: _Failure) -> str:
    """A run key that tells how often the batch was tried, and that no run has had: it names the one before."""
    return f"{batch}:{failure.tries}:{failure.run_id}"


def _tries(batch: str, run_key: str) -> int:
    """Which run of a batch this key is of, from 1, the batch's own key; 0 when the sensor did not ask for it."""
    name, _, rest = run_key.partition(":")
    number = rest.split(":")[0]
    if not batch or name != batch:
        return 0
    return int(number) + 1 if number.isdecimal() else 1
