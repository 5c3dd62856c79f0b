"""A change of models or classes: the sensor that works the batches again which only older ones embedded.

Meanwhile the index in place goes on serving, and `orchestration.rebuild` waits. Batches are asked for in stretches,
each one run: one process and one load of the models. A stretch that fails is asked for again in smaller ones, at
last batch by batch, so that a batch that cannot be worked stands alone; then it is left to a person, and tried again
some hours later.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg
from dagster import DagsterInstance

from assets.partitions import BATCHES_PER_RUN, catalog_batch
from orchestration.deployment import Deployment
from orchestration.jobs import BATCH_JOB
from orchestration.run_history import PARTITION, back_off, runs_of
from vetrina.settings import Settings
from vetrina.words import counted

MODELS_TAG = "vetrina/embeddings"
"""Run tag: the fingerprint of the embeddings that the run is to make."""
_ATTEMPT_TAG = "vetrina/attempt"
"""Run tag: how often the batches of the run were tried before, so that not all of those runs need be read."""
_START, _END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_SIZES = (BATCHES_PER_RUN, 10, 1)
"""Batches of a stretch by attempt. After the last a batch is given up for a while, then all begins again."""
_FIRST_WAIT, _LONGEST_WAIT = 60.0, 3600.0  # seconds
_GIVEN_UP_FOR = 6 * 3600.0  # seconds: a store that was away for an hour must not cost a shop its products
_EVERY = 60  # seconds
_ASSETS = [dg.AssetKey("crops"), dg.AssetKey("label_table"), dg.AssetKey("embeddings")]


@dataclass(slots=True)
class Backfill:
    """What was done for one fingerprint so far.

    Attributes:
        order: all partition keys, in Dagster's order; stretches are runs of neighbours in it.
        active: keys that a run has in hand.
        attempts: key → runs that ended without its embeddings.
        ended: key → when the last of them did, in seconds since 1970.
        newest: key → id of the newest of them.
    """

    order: list[str]
    active: set[str] = field(default_factory=set)
    attempts: Counter[str] = field(default_factory=Counter)
    ended: dict[str, float] = field(default_factory=dict)
    newest: dict[str, str] = field(default_factory=dict)

    def given_up(self, key: str) -> bool:
        """Whether the batch was tried often enough, alone at last."""
        return key not in self.active and self.attempts[key] >= len(_SIZES)

    def due(self, key: str, now: float) -> bool:
        """Whether it is time to try the batch (again)."""
        attempts = self.attempts[key]
        begun_again = attempts > 0 and attempts % len(_SIZES) == 0
        pause = _GIVEN_UP_FOR if begun_again else back_off(attempts % len(_SIZES), _FIRST_WAIT, _LONGEST_WAIT)
        return key not in self.active and now >= self.ended.get(key, 0.0) + pause


def backfill_so_far(instance: DagsterInstance, fingerprint: str, now: float) -> Backfill:
    """Read the history of the runs that this module asked for."""
    found = Backfill(list(instance.get_dynamic_partitions(str(catalog_batch.name))))
    place = {key: number for number, key in enumerate(found.order)}
    told: Counter[str] = Counter()
    for run in runs_of(instance, BATCH_JOB, now, {MODELS_TAG: fingerprint}):
        start, end = (run.tags.get(tag) or run.tags.get(PARTITION, "") for tag in (_START, _END))
        if start not in place or end not in place:
            continue
        for key in found.order[place[start] : place[end] + 1]:
            if run.active:
                found.active.add(key)
            else:
                found.attempts[key] += 1
                told[key] = max(told[key], int(run.tags.get(_ATTEMPT_TAG, "0")) + 1)
                found.ended[key] = max(run.ended, found.ended.get(key, 0.0))
                found.newest.setdefault(key, run.run_id)
    found.attempts |= told  # the larger of the two: runs may be too many to read, or of a version that told nothing
    return found


def stretches(outdated: Sequence[str], so_far: Backfill, now: float) -> list[list[str]]:
    """The batches to work now: each list is consecutive in Dagster's order and has been tried equally often."""
    due = {key for key in outdated if so_far.due(key, now)}
    found: list[list[str]] = []
    last = ""
    for key in so_far.order:
        if key in due:
            attempts = so_far.attempts[key]
            joins = bool(last) and so_far.attempts[last] == attempts and len(found[-1]) < _SIZES[attempts % len(_SIZES)]
            if joins:
                found[-1].append(key)
            else:
                found.append([key])
        last = key if key in due else ""
    return found


def requests(fingerprint: str, found: Sequence[Sequence[str]], so_far: Backfill) -> list[dg.RunRequest]:
    """A run for each stretch of batches, under a key that no run has had: it names the run before."""
    asked = []
    for keys in found:
        attempt = so_far.attempts[keys[0]]
        tags = {MODELS_TAG: fingerprint, _ATTEMPT_TAG: str(attempt)}
        run_key = f"{fingerprint}:{keys[0]}:{keys[-1]}:{attempt}:{so_far.newest.get(keys[0], '')}"
        if len(keys) == 1:
            asked.append(dg.RunRequest(run_key=run_key, partition_key=keys[0], asset_selection=_ASSETS, tags=tags))
        else:
            tags |= {_START: keys[0], _END: keys[-1]}
            asked.append(dg.RunRequest(run_key=run_key, asset_selection=_ASSETS, tags=tags))
    return asked


def model_change_sensor(settings: Settings) -> dg.SensorDefinition:
    """Works batches again whose embeddings the models in use did not make."""

    @dg.sensor(
        name="model_change",
        job_name=BATCH_JOB,
        minimum_interval_seconds=_EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Detects and embeds again, with the models in use, what only others embedded; the index in place goes on "
            "serving until all is done."
        ),
    )
    def model_change(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        deployment = Deployment(settings)
        fingerprint = deployment.extractor.embeddings_fingerprint(deployment.detector)
        outdated = [batch.key for batch in deployment.outdated()]
        if not outdated:
            return dg.SkipReason("Every embedded batch was embedded by the models in use")
        so_far = backfill_so_far(context.instance, fingerprint, time.time())
        unknown = sorted(set(outdated) - set(so_far.order), key=outdated.index)
        if unknown:
            # Registered under another Dagster history; their runs are asked for once they are partitions.
            return dg.SensorResult(dynamic_partitions_requests=[catalog_batch.build_add_request(unknown)])
        found = stretches(outdated, so_far, time.time())
        if found:
            return dg.SensorResult(run_requests=requests(fingerprint, found, so_far))
        lost = [key for key in outdated if so_far.given_up(key)]
        if lost:
            named = ", ".join(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            return dg.SkipReason(
                f"{counted(len(lost), 'batch', 'batches')} could not be worked with the models in use: {named}. See "
                "their runs, put right what is wrong, and backfill `crops`, `label_table` and `embeddings` for them"
            )
        return dg.SkipReason(f"{counted(len(outdated), 'batch is', 'batches are')} being worked with the models in use")

    return model_change
