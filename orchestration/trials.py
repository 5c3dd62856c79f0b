"""Trials for the command line: the shop embedded by another extractor, as a Dagster run where one is needed."""

from __future__ import annotations

from typing import Any

from dagster import DagsterInstance

from orchestration.deployment import Deployment
from orchestration.intake import listening
from orchestration.printing import Steps
from orchestration.runs import run_trial
from orchestration.trial_job import TRIAL_OP
from vetrina.embedding.extractor import ExtractorIdentity, prepare_extractor
from vetrina.embedding.trials import not_embedded, note_trial
from vetrina.errors import ModelError


def identified(deployment: Deployment, progress: Steps) -> ExtractorIdentity:
    """The extractor of a deployment; one that has to be fetched before it can be named is. Raises ModelError."""
    try:
        return deployment.extractor.identity()
    except ModelError:
        prepare_extractor(deployment.extractor.handle, deployment.store, progress.note)
        return deployment.extractor.identity()


def embed_on_trial(deployment: Deployment, instance: DagsterInstance, progress: Steps) -> dict[str, Any] | None:
    """Embed with the extractor of a deployment what it has not embedded; what that cost, or None when it was nothing.

    Raises:
        RunFailed: the model cannot be used, or the store.
    """
    labels = deployment.detector.labels_fingerprint()
    identity = deployment.extractor.identity()
    if not not_embedded(deployment.store, labels, identity):
        note_trial(deployment.store, labels, identity)  # what an earlier trial made is wanted for another month
        return None
    progress.begin(f"Embedding with {deployment.extractor.handle}")
    try:
        with listening(progress.step):
            run = run_trial(instance, deployment.extractor.handle)
    finally:
        progress.end()
    return {**run.metadata[TRIAL_OP], "run_id": run.run_id, "seconds": round(run.seconds, 2)}
