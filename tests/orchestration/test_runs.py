"""Runs of the command line as the Dagster UI sees them, and what a killed one leaves behind."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest
from support.fault_server import FaultServer
from support.shops import Shop, rows_of

from assets.partitions import catalog_batch
from orchestration.definitions import build_defs
from orchestration.home import PID_TAG, end_dead_runs, end_runs_before_boot, make_home, process_name
from orchestration.jobs import BATCH_JOB


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    make_home(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return dg.DagsterInstance.get()


def _materializations(instance: dg.DagsterInstance, run_id: str) -> dict[str, Mapping[str, dg.MetadataValue]]:
    events = (event.asset_materialization for event in instance.all_logs(run_id))
    return {event.asset_key.to_user_string(): event.metadata for event in events if event is not None}


def test_a_catalog_becomes_a_partition_and_two_runs_with_counts_and_previews(shop: Shop, server: FaultServer) -> None:
    report = shop.add(shop.catalog("spring", rows_of(server, ["oak-chair", "white-chair", "bootie"])))
    (batch,) = report["batches"]
    instance = dg.DagsterInstance.get()
    assert instance.get_dynamic_partitions(str(catalog_batch.name)) == [batch["batch"]]
    for run_id in (batch["run_id"], report["published"]["run_id"]):
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status == dg.DagsterRunStatus.SUCCESS

    made = _materializations(instance, batch["run_id"]) | _materializations(instance, report["published"]["run_id"])
    counts = {
        ("catalog", "rows"): 3,
        ("catalog", "accepted"): 3,
        ("raw_images", "fetched"): 3,
        ("raw_images", "failed"): 0,
        ("crops", "detected"): 3,
        ("label_table", "products"): 3,
        ("embeddings", "products"): 3,
        ("similarity_index", "products"): 3,
        ("similar_products", "dagster/row_count"): 6,
    }
    assert {(asset, name): made[asset][name].value for asset, name in counts} == counts
    for asset in ("raw_images", "crops"):
        assert str(made[asset]["samples"].value).startswith("![sample](data:image/jpeg;base64,/9j/")


def _started_run(instance: dg.DagsterInstance, tag: str | None) -> dg.DagsterRun:
    return instance.create_run_for_job(
        build_defs().resolve_job_def(BATCH_JOB),
        status=dg.DagsterRunStatus.STARTED,
        tags={} if tag is None else {PID_TAG: tag},
    )


def _slots(instance: dg.DagsterInstance) -> int:
    return instance.event_log_storage.get_concurrency_info("gpu").active_slot_count


def test_a_run_whose_process_is_gone_is_ended_and_its_pool_place_freed(instance: dg.DagsterInstance) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "from orchestration.home import process_name; print(process_name())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    dead = _started_run(instance, gone)
    instance.event_log_storage.initialize_concurrency_limit_to_default("gpu")
    claim = instance.event_log_storage.claim_concurrency_slot("gpu", dead.run_id, "crops_and_labels")
    assert claim.is_claimed
    assert _slots(instance) == 1
    end_dead_runs(instance)
    ended = instance.get_run_by_id(dead.run_id)
    assert ended is not None
    assert ended.status == dg.DagsterRunStatus.FAILURE
    assert _slots(instance) == 0


def test_runs_of_another_boot_are_ended_whatever_has_their_number_now(instance: dg.DagsterInstance) -> None:
    host, boot, numbers, pid, start = process_name().split(":")
    other = "00000000-0000-0000-0000-000000000000"
    dead = {
        _started_run(instance, f"{host}:{other}:{numbers}:{pid}:{start}").run_id,
        _started_run(instance, f"{other}:{pid}:{start}").run_id,  # as a former version named it
        _started_run(instance, f"{boot}:999999999:{start}").run_id,
    }
    living = _started_run(instance, f"{boot}:{pid}:{start}").run_id
    end_dead_runs(instance)
    states = {run.run_id: run.status for run in instance.get_runs()}
    assert states == dict.fromkeys(dead, dg.DagsterRunStatus.FAILURE) | {living: dg.DagsterRunStatus.STARTED}


def test_runs_that_a_power_failure_ended_are_told_so_and_younger_ones_go_on(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = _started_run(instance, None)
    time.sleep(1.1)  # Dagster's clock counts seconds
    young = _started_run(instance, None)
    (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[young.run_id]))
    monkeypatch.setattr("orchestration.home._booted_at", lambda: record.update_timestamp.timestamp())
    end_runs_before_boot(instance)
    states = {run.run_id: run.status for run in instance.get_runs()}
    assert states == {old.run_id: dg.DagsterRunStatus.FAILURE, young.run_id: dg.DagsterRunStatus.STARTED}


HOST, BOOT, NUMBERS, PID, START = process_name().split(":")
LIVING_ELSEWHERE = {
    "on another host": f"elsewhere:00000000-0000-0000-0000-000000000000:{NUMBERS}:{PID}:1",
    "in another container of this host": f"{HOST}:{BOOT}:1:{PID}:1",
    "in a container of another name": f"elsewhere:{BOOT}:1:{PID}:1",
}


@pytest.mark.parametrize("tag", LIVING_ELSEWHERE.values(), ids=LIVING_ELSEWHERE)
def test_a_run_that_lives_where_nobody_here_can_see_is_left_alone(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tag: str
) -> None:
    run = _started_run(instance, tag)
    monkeypatch.setattr("orchestration.home._booted_at", lambda: time.time() + 60)
    end_dead_runs(instance)
    end_runs_before_boot(instance)
    left = instance.get_run_by_id(run.run_id)
    assert left is not None
    assert left.status == dg.DagsterRunStatus.STARTED


@pytest.mark.parametrize("tag", [process_name(), None], ids=["of a living process", "started from the UI"])
def test_other_runs_are_left_alone(instance: dg.DagsterInstance, tag: str | None) -> None:
    run = _started_run(instance, tag)
    instance.event_log_storage.initialize_concurrency_limit_to_default("gpu")
    instance.event_log_storage.claim_concurrency_slot("gpu", run.run_id, "embeddings")
    end_dead_runs(instance)
    left = instance.get_run_by_id(run.run_id)
    assert left is not None
    assert left.status == dg.DagsterRunStatus.STARTED
    assert _slots(instance) == 1
