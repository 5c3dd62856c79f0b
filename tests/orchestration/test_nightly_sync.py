"""The scheduled sync of a whole catalog, and what it does with what a killed one left."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from support.fault_server import FaultServer, status
from support.sensors import Ticker, why
from support.shops import Shop, rows_of

from orchestration.answers import shop_status
from orchestration.definitions import BATCH_JOB, build_defs
from orchestration.intake_jobs import SYNC_JOB
from resources.configured import sync_order_of
from vetrina.catalog.batches import Batch, list_batches
from vetrina.catalog.syncing import sync_catalog
from vetrina.errors import SettingError


def _scheduled(instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    defs = build_defs()
    at = datetime(2026, 1, 1, 3, tzinfo=UTC)
    with dg.build_schedule_context(instance, scheduled_execution_time=at) as context:
        result = defs.resolve_schedule_def("catalog_sync").evaluate_tick(context)
    return result.run_requests[0] if result.run_requests else dg.SkipReason(result.skip_message)


def test_without_a_source_the_schedule_skips_and_says_how_to_switch_it_on(ticker: Ticker) -> None:
    said = _scheduled(ticker.instance)
    assert isinstance(said, dg.SkipReason)
    assert "set VETRINA_SYNC_SOURCE" in str(said.skip_message)


@pytest.mark.parametrize("setting", [{"sync_cron": "every night"}, {"sync_time_zone": "Mars/Olympus"}])
def test_a_cron_line_or_zone_that_cannot_be_used_is_refused_by_name(setting: dict[str, str]) -> None:
    with pytest.raises(SettingError, match=r"VETRINA_SYNC_CRON.*VETRINA_SYNC_TIME_ZONE"):
        build_defs(**setting)


def test_a_nightly_sync_works_what_changed_and_refuses_to_empty_the_shop(
    shop: Shop, server: FaultServer, ticker: Ticker
) -> None:
    names = ["oak-chair", "box", "bootie", "umbrella", "slippers"]
    export = _export(shop, server, names)
    shop.set(SYNC_SOURCE=server.url("/shop.csv"))
    request = _scheduled(ticker.instance)
    assert isinstance(request, dg.RunRequest)

    assert ticker.run(request, SYNC_JOB).success
    ((batch_run,), _) = ticker.tick("registered_batches")
    assert ticker.run(batch_run, BATCH_JOB).success
    shop.publish()
    assert set(shop.similar("box")) == set(names) - {"box"}

    assert ticker.run(request, SYNC_JOB).success  # unchanged: no batch, no partition
    assert ticker.tick("registered_batches")[0] == []
    assert len(ticker.partitions) == 1

    assert server.pictures is not None
    server.pictures["/shop.csv"] = export.splitlines(keepends=True)[0] + export.splitlines(keepends=True)[1]
    refused = ticker.run(request, SYNC_JOB)
    assert not refused.success
    assert "would remove 4 of the 5 products" in why(refused)
    assert "confirm" in why(refused)
    assert ticker.tick("registered_batches")[0] == []
    (problem,) = shop_status(shop.deployment, 0)["set_aside"]
    assert "would remove 4 of the 5" in problem["reason"]

    confirmed = dg.RunRequest(run_config={"ops": {"sync_catalog": {"config": {"confirm_removals": True}}}})
    assert ticker.run(confirmed, SYNC_JOB).success
    ((batch_run,), _) = ticker.tick("registered_batches")
    assert ticker.run(batch_run, BATCH_JOB).success
    shop.publish()
    assert shop.similar("oak-chair") == []
    assert shop_status(shop.deployment, 0)["set_aside"] == []


def _killed_sync(shop: Shop, server: FaultServer) -> Batch:
    """The batch of a `vetrina sync` that came no further than to register it."""
    _export(shop, server, ["oak-chair", "box"])
    shop.set(SYNC_SOURCE=server.url("/shop.csv"))
    order = dataclasses.replace(sync_order_of(shop.deployment.settings), origin="command")
    batch = sync_catalog(shop.deployment.store, order).batch
    assert batch is not None
    return batch


def test_a_sync_that_was_killed_is_run_again_and_works_what_it_left(shop: Shop, server: FaultServer) -> None:
    batch = _killed_sync(shop, server)
    report = shop.sync(server.url("/shop.csv"))
    assert "has not changed since" in report["sync"]["skipped"]
    ((key, new),) = [(entry["batch"], entry["new"]) for entry in report["batches"]]
    assert (key, new) == (batch.key, False)
    assert shop.similar("box") == ["oak-chair"]
    assert shop.sync(server.url("/shop.csv"))["batches"] == []


def test_the_nightly_sync_has_the_sensor_run_what_a_killed_sync_left(
    shop: Shop, server: FaultServer, ticker: Ticker
) -> None:
    batch = _killed_sync(shop, server)
    assert ticker.tick("registered_batches")[0] == []
    assert ticker.run(dg.RunRequest(), SYNC_JOB).success
    ((request,), _) = ticker.tick("registered_batches")
    assert request.partition_key == batch.key
    assert ticker.run(request, BATCH_JOB).success
    assert ticker.run(dg.RunRequest(), SYNC_JOB).success
    assert ticker.tick("registered_batches")[0] == []


@pytest.mark.parametrize(("code", "again"), [(503, True), (404, False)])
def test_a_source_in_trouble_is_tried_again_later_and_a_missing_one_is_not(
    shop: Shop, server: FaultServer, ticker: Ticker, monkeypatch: pytest.MonkeyPatch, code: int, again: bool
) -> None:
    monkeypatch.setattr("vetrina.web_files.time.sleep", lambda _: None)
    monkeypatch.setattr("orchestration.intake_jobs._AGAIN", dg.RetryPolicy(max_retries=1))
    _export(shop, server, ["box"])
    shop.set(SYNC_SOURCE=server.url("/shop.csv"))
    server.fail("/shop.csv", status(code, times=2))  # as often as one try of the job asks
    result = ticker.run(dg.RunRequest(), SYNC_JOB)
    assert result.success == again
    assert f"answered {code}" in why(result)
    assert len(list_batches(shop.deployment.store)) == again


def _export(shop: Shop, server: FaultServer, names: list[str]) -> bytes:
    export = Path(shop.catalog("export", rows_of(server, names))).read_bytes()
    assert server.pictures is not None
    server.pictures["/shop.csv"] = export
    return export
