"""Large files of the watched folder: when a run is to register one, and what is said once such a run failed.

A file is asked for until its run has left word in the store; one whose run failed is tried again a minute later, then
after twice as long each time, at most an hour, for as long as it lies there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import dagster as dg
from dagster import DagsterInstance

from orchestration.intake_jobs import AGAIN_IF_IT_DIES, LARGE_FILE_JOB, large_file_config
from orchestration.run_history import back_off, runs_of
from vetrina.catalog.problems import is_set_aside, set_aside
from vetrina.catalog.watching import Listed, source_of
from vetrina.store import Store

_FILE_TAG = "vetrina/large_file"
"""Run tag: the file as it was when the run was asked for."""
_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 3600.0  # seconds


def runs_of_large(
    instance: DagsterInstance, store: Store, root: str, files: Sequence[Listed], now: float
) -> list[dg.RunRequest]:
    """The runs that are to register large files of the watched folder now; none for a file that a run has in hand.

    Args:
        now: seconds since 1970.
    """
    asked = []
    for file in files:
        seen = hashlib.sha256(f"{root}\0{file.name}\0{file.mark}".encode(errors="surrogateescape")).hexdigest()[:32]
        before = runs_of(instance, LARGE_FILE_JOB, now, {_FILE_TAG: seen})
        if any(run.active for run in before):
            continue
        if before:
            _say(store, root, file, before[0].run_id)
            if now - max(run.ended for run in before) < back_off(len(before), _FIRST_PAUSE, _LONGEST_PAUSE):
                continue
        asked.append(
            dg.RunRequest(
                run_key=f"{seen}:{before[0].run_id if before else ''}",  # no run has had it: it names the one before
                run_config=large_file_config(file.name),
                tags={_FILE_TAG: seen, **AGAIN_IF_IT_DIES},
            )
        )
    return asked


def _say(store: Store, root: str, file: Listed, run_id: str) -> None:
    """Set a file aside whose run failed, unless the run itself has said why."""
    source = source_of(root, file.name)
    if not is_set_aside(store, source):
        reason = (
            f"{file.name}: the run that was to register it failed; see run {run_id} of the job {LARGE_FILE_JOB} in the "
            "Dagster UI. It is tried again by itself, at most an hour later each time"
        )
        set_aside(store, source, "watch", reason)
