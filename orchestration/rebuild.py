"""The sensor that has the index and the table rebuilt when the batches give another one.

It compares what the store's batches would give with what is published, at every tick, so nothing is missed that a
sensor on events would miss: removals, a batch that finishes during a build, a build that was killed, a table that was
never written. A burst of batches is waited for, but not for ever.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterInstance

from orchestration.deployment import Deployment
from orchestration.jobs import ASSET_JOB, BATCH_JOB, PUBLISH_JOB
from orchestration.model_change import backfill_so_far
from orchestration.run_history import back_off, runs_of, under_way
from vetrina.index.outdated import outdated_batches
from vetrina.index.wanted import Wanted, why_not_published
from vetrina.settings import Settings
from vetrina.words import counted

INDEX_TAG = "vetrina/index"
"""Run tag: `Wanted.digest` of what the run is to publish."""
_FIRST_WAIT, _LONGEST_WAIT = 60.0, 3600.0  # seconds after a publication that failed
_EVERY = 30  # seconds
_LOST_SHARE = 10  # an index may do without one batch in ten, not without most of the shop
_LOST_AFTER = 3600.0  # seconds; two builds of the same are safe, one that is awaited for ever is not


@dataclass(frozen=True, slots=True)
class Situation:
    """What the decision depends on; times in seconds.

    Attributes:
        why: why something is to be published; None when all is.
        empty: no batch has embeddings.
        outdated: batches still to be worked with the models in use.
        lost: batches that could not be worked with them, of `batches` in all.
        publishing: publications queued or under way.
        busy: runs of batches queued or under way.
        waited: since the difference was first seen, or the last publication asked for.
        longest_wait: for batches under way, at most.
        attempts: publications of just this that ended without success.
        rested: since the last of them.
    """

    why: str | None
    empty: bool = False
    outdated: int = 0
    lost: int = 0
    batches: int = 0
    publishing: int = 0
    busy: int = 0
    waited: float = 0.0
    longest_wait: float = 600.0
    attempts: int = 0
    rested: float = 0.0


def why_not_now(found: Situation) -> str | None:
    """The reason for not publishing now, in words; None when it is time."""
    if found.why is None:
        return "Index and table are what the batches give"
    if found.publishing:
        return "A publication is under way"
    if found.outdated:
        return (
            f"{counted(found.outdated, 'batch is', 'batches are')} still to be worked with the models in use (sensor "
            "model_change); the index in place goes on serving"
        )
    if found.lost > max(1, found.batches // _LOST_SHARE):
        return (
            f"{found.lost} of {found.batches} batches could not be worked with the models in use (sensor "
            "model_change); the index in place goes on serving. To go on without them, materialize `similarity_index` "
            "by hand"
        )
    if found.empty:
        return "No batch is finished with the models in use, so there is nothing to index"
    pause = back_off(found.attempts, _FIRST_WAIT, _LONGEST_WAIT)
    if found.rested < pause:
        failed = counted(found.attempts, "publication of this", "publications of this")
        return f"After {failed} that did not succeed, the next comes {pause - found.rested:.0f} s from now"
    if found.busy and found.waited < found.longest_wait:
        return (
            f"{counted(found.busy, 'run of batches is', 'runs of batches are')} under way; one rebuild is to cover "
            f"them all (waited {found.waited:.0f} of {found.longest_wait:.0f} s)"
        )
    return None


def rebuild_sensor(settings: Settings) -> dg.SensorDefinition:
    """Publishes when the store's batches give another index or table than the published ones."""

    @dg.sensor(
        name="rebuild",
        job_name=PUBLISH_JOB,
        minimum_interval_seconds=_EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Rebuilds index and table once batches, removals, models or settings changed; waits for batches under "
            "way (VETRINA_REBUILD_WAIT)."
        ),
    )
    def rebuild(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = time.time()
        deployment = Deployment(settings)
        wanted = deployment.wanted()
        why = why_not_published(deployment.store, wanted)
        since = min(_since(context.cursor, now), now) if why is not None else now
        found, newest = situation(context.instance, deployment, wanted, why, now, since)
        reason = why_not_now(found)
        if reason is not None:
            cursor = "" if why is None else json.dumps({"since": since})
            return dg.SensorResult(skip_reason=reason, cursor=cursor)
        context.log.info(f"The index is rebuilt: {why}")
        # A key that no run has had: it names the run before.
        request = dg.RunRequest(run_key=f"{wanted.digest}:{newest}", tags={INDEX_TAG: wanted.digest})
        return dg.SensorResult(run_requests=[request], cursor=json.dumps({"since": now}))

    return rebuild


def situation(
    instance: DagsterInstance, deployment: Deployment, wanted: Wanted, why: str | None, now: float, since: float
) -> tuple[Situation, str]:
    """What there is to decide by, and the run id of the newest publication of just this, if there was one."""
    if why is None:
        return Situation(None), ""
    outdated, lost = _not_worked(instance, deployment, wanted, now)
    before = runs_of(instance, PUBLISH_JOB, now, {INDEX_TAG: wanted.digest}, lost_after=_LOST_AFTER)
    ended = [run for run in before if not run.active]
    busy = sum(under_way(runs_of(instance, job, now, active_only=True)) for job in (BATCH_JOB, ASSET_JOB))
    return (
        Situation(
            why=why,
            empty=wanted.empty,
            outdated=outdated,
            lost=lost,
            batches=len(wanted.sources),
            publishing=under_way(runs_of(instance, PUBLISH_JOB, now, active_only=True, lost_after=_LOST_AFTER)),
            busy=busy,
            waited=now - since,
            longest_wait=deployment.settings.rebuild_wait,
            attempts=len(ended),
            rested=now - max((run.ended for run in ended), default=0.0),
        ),
        before[0].run_id if before else "",
    )


def _not_worked(instance: DagsterInstance, deployment: Deployment, wanted: Wanted, now: float) -> tuple[int, int]:
    """How many batches are still to be worked with the models in use, and how many could not be."""
    fingerprint = wanted.fingerprints["embeddings"]
    outdated = outdated_batches(deployment.store, fingerprint, wanted.sources)
    if not outdated:
        return 0, 0
    so_far = backfill_so_far(instance, fingerprint, now)
    lost = sum(so_far.given_up(batch.key) for batch in outdated)
    return len(outdated) - lost, lost


def _since(cursor: str | None, now: float) -> float:
    try:
        return float(json.loads(cursor or "")["since"])
    except (ValueError, KeyError, TypeError):
        return now
