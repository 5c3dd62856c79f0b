"""Runs started from the command line: Dagster runs in this process, seen in the Dagster UI like any other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster import DagsterInstance

from assets.partitions import catalog_batch
from orchestration.home import PID_TAG, history_in_words, process_name
from orchestration.jobs import BATCH_JOB, FINETUNE_JOB, PUBLISH_JOB
from orchestration.trial_job import TRIAL_JOB, TRIAL_OP, trial_config
from vetrina.errors import VetrinaError

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailed(VetrinaError):
    """A run ended before its work was done."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """What one run did.

    Attributes:
        seconds: wall time.
        metadata: asset name → what its materialization says, as plain values.
    """

    run_id: str
    seconds: float
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)


def run_batch(instance: DagsterInstance, key: str, *, retry_failed: bool = False) -> RunReport:
    """Materialize everything that one batch needs. Raises RunFailed."""
    if not instance.has_dynamic_partition(str(catalog_batch.name), key):
        instance.add_dynamic_partitions(str(catalog_batch.name), [key])
    config: dict[str, Any] = {"ops": {"raw_images": {"config": {"retry_failed": retry_failed}}}}
    return _run(instance, BATCH_JOB, {**_QUIET, **config}, partition_key=key)


def run_publish(instance: DagsterInstance) -> RunReport:
    """Materialize the index and the similar-products table over all finished batches. Raises RunFailed."""
    return _run(instance, PUBLISH_JOB, _QUIET)


def run_trial(instance: DagsterInstance, extractor: str) -> RunReport:
    """Embed the shop with an extractor on trial; `TRIAL_OP` in the metadata says what it cost. Raises RunFailed."""
    return _run(instance, TRIAL_JOB, {**_QUIET, **trial_config(extractor)})


def run_finetune(instance: DagsterInstance, plan: Mapping[str, Any], split: str) -> RunReport:
    """Choose a training set and teach an extractor with it. Raises RunFailed.

    Args:
        plan: fields of the configuration of `tuned_extractor`; those left out have its defaults.
        split: ATTRIBUTE=VALUE of the products that are held out, or empty.
    """
    config = {
        "training_set": {"config": {"label": plan["label"], "split": split}},
        "tuned_extractor": {"config": {**plan, "split": split}},
    }
    return _run(instance, FINETUNE_JOB, {**_QUIET, "ops": config})


def _run(instance: DagsterInstance, job: str, config: dict[str, Any], partition_key: str | None = None) -> RunReport:
    # Imported here: the module builds the definitions as Dagster wants them, and these need models that can be named.
    from orchestration.definitions import build_defs

    began = time.monotonic()
    with history_in_words():
        result = (
            build_defs()
            .resolve_job_def(job)
            .execute_in_process(
                instance=instance,
                run_config=config,
                partition_key=partition_key,
                tags={PID_TAG: process_name()},
                raise_on_error=False,
            )
        )
    if not result.success:
        raise RunFailed(_why(result))
    metadata = {
        event.asset_key.path[-1]: {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }
    for event in result.filter_events(lambda event: event.is_successful_output and event.step_key == TRIAL_OP):
        said = event.step_output_data.metadata
        metadata[TRIAL_OP] = {name: value.value for name, value in said.items()}
    return RunReport(result.run_id, time.monotonic() - began, metadata)


def _why(result: dg.ExecuteInProcessResult) -> str:
    """The first failed step's own words where it raised an error for people, else the whole error."""
    for event in result.filter_events(lambda event: event.is_step_failure):
        error = event.step_failure_data.error
        while error is not None:
            if error.cls_name in _expected_errors(VetrinaError):
                return error.message.split(": ", 1)[-1].strip()
            if error.cause is None:
                return f"Step {event.step_key} failed: {error.message.strip()} (run {result.run_id})"
            error = error.cause
    return f"Run {result.run_id} failed; see it in the Dagster UI: make ui"


def _expected_errors(base: type[BaseException]) -> Sequence[str]:
    return [base.__name__, *(name for child in base.__subclasses__() for name in _expected_errors(child))]
