"""When the index is rebuilt by itself, and when not yet."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace

import dagster as dg
import pytest
from support.fault_server import FaultServer
from support.shops import Shop, rows_of

from orchestration.definitions import build_defs
from orchestration.home import PID_TAG, process_name
from orchestration.jobs import BATCH_JOB, PUBLISH_JOB
from orchestration.model_change import MODELS_TAG
from orchestration.rebuild import INDEX_TAG, Situation, rebuild_sensor, why_not_now
from vetrina.index.versions import current, history, rollback
from vetrina.settings import Settings

FIRST = ["oak-chair", "white-chair", "coffee-cup"]


@dataclass
class Ticks:
    """Evaluates the sensor tick by tick, as the daemon would, keeping its cursor."""

    shop: Shop
    instance: dg.DagsterInstance
    cursor: str | None = None
    later: float = 0.0
    """Seconds that the sensor's clock is ahead."""

    def tick(self) -> dg.RunRequest | str:
        """The run that is asked for, or why there is none."""
        sensor = rebuild_sensor(Settings.from_environment())
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor) as context:
            result = sensor.evaluate_tick(context)
        self.cursor = result.cursor
        if result.skip_message:
            return result.skip_message
        (request,) = result.run_requests or []
        return request

    def waited(self, seconds: float) -> None:
        """As if the difference had been seen so long ago."""
        self.cursor = json.dumps({"since": time.time() - seconds})

    def run(self, status: dg.DagsterRunStatus, job: str, **tags: str) -> str:
        """A run of a job in some state, made without working it."""
        run = self.instance.create_run_for_job(build_defs().resolve_job_def(job), status=status, tags=tags)
        return run.run_id


@pytest.fixture
def ticks(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ticks]:
    with dg.DagsterInstance.ephemeral() as instance:
        found = Ticks(shop, instance)
        monkeypatch.setattr("orchestration.rebuild.time", SimpleNamespace(time=lambda: time.time() + found.later))
        yield found


def _work(shop: Shop, server: FaultServer, name: str, products: list[str]) -> None:
    shop.work(shop.register(shop.catalog(name, rows_of(server, products))))


def _fail(ticks: Ticks, request: dg.RunRequest) -> None:
    """A run for the request that fails."""
    run_id = ticks.run(dg.DagsterRunStatus.STARTED, PUBLISH_JOB, **dict(request.tags))
    run = ticks.instance.get_run_by_id(run_id)
    assert run is not None
    ticks.instance.report_run_failed(run, "disk full")


def test_an_empty_shop_has_nothing_to_publish(ticks: Ticks) -> None:
    assert "nothing to index" in str(ticks.tick())


def test_a_finished_batch_is_published_once(ticks: Ticks, shop: Shop, server: FaultServer) -> None:
    _work(shop, server, "spring", FIRST)
    request = ticks.tick()
    assert isinstance(request, dg.RunRequest)
    assert request.tags[INDEX_TAG] == shop.deployment.wanted().digest
    assert ticks.tick() == request  # the same run key: Dagster starts it once
    shop.publish()
    assert ticks.tick() == "Index and table are what the batches give"
    assert len(history(shop.deployment.store)) == 1


def test_another_batch_and_a_removal_alone_are_published_too(ticks: Ticks, shop: Shop, server: FaultServer) -> None:
    _work(shop, server, "spring", FIRST)
    shop.publish()
    _work(shop, server, "summer", ["bootie"])
    first = ticks.tick()
    assert isinstance(first, dg.RunRequest)
    shop.publish()
    shop.work(shop.register(shop.catalog("removals", [{"id": "bootie", "url": "", "deleted": "yes"}])))
    second = ticks.tick()
    assert isinstance(second, dg.RunRequest)
    assert second.run_key != first.run_key
    shop.publish()
    assert isinstance(ticks.tick(), str)
    assert "bootie" not in shop.similar("oak-chair")


def test_a_batch_that_failed_keeps_the_others_out_no_longer_than_it_runs(
    ticks: Ticks, shop: Shop, server: FaultServer
) -> None:
    _work(shop, server, "spring", FIRST)
    shop.register(shop.catalog("never-worked", rows_of(server, ["box"])))
    ticks.run(dg.DagsterRunStatus.FAILURE, BATCH_JOB)
    assert isinstance(ticks.tick(), dg.RunRequest)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_a_burst_of_batches_is_waited_for_but_not_for_ever(
    ticks: Ticks, shop: Shop, server: FaultServer, status: dg.DagsterRunStatus
) -> None:
    _work(shop, server, "spring", FIRST)
    ticks.run(status, BATCH_JOB)
    assert "one rebuild is to cover them all" in str(ticks.tick())
    ticks.waited(500)
    assert isinstance(ticks.tick(), str)
    ticks.waited(601)
    assert isinstance(ticks.tick(), dg.RunRequest)
    # From here the next wait begins, so that a steady stream has a rebuild now and then and not at every tick.
    assert isinstance(ticks.tick(), str)


def test_a_publication_under_way_is_not_doubled_and_what_lands_meanwhile_is_not_lost(
    ticks: Ticks, shop: Shop, server: FaultServer
) -> None:
    _work(shop, server, "spring", FIRST)
    run_id = ticks.run(dg.DagsterRunStatus.STARTED, PUBLISH_JOB)
    assert ticks.tick() == "A publication is under way"
    shop.publish()
    _work(shop, server, "summer", ["bootie"])
    run = ticks.instance.get_run_by_id(run_id)
    assert run is not None
    ticks.instance.report_run_failed(run)
    assert isinstance(ticks.tick(), dg.RunRequest)


def test_a_publication_whose_process_was_killed_does_not_block(ticks: Ticks, shop: Shop, server: FaultServer) -> None:
    _work(shop, server, "spring", FIRST)
    *place, _, start = process_name().split(":")
    ticks.run(dg.DagsterRunStatus.STARTED, PUBLISH_JOB, **{PID_TAG: ":".join([*place, "999999999", start])})
    assert isinstance(ticks.tick(), dg.RunRequest)


def test_a_publication_that_fails_for_weeks_is_never_asked_for_under_a_used_key(
    ticks: Ticks, shop: Shop, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.run_history._MOST", 1)  # fewer than the runs there will be
    _work(shop, server, "spring", FIRST)
    ticks.later = 7200.0
    used = []
    for _ in range(3):
        request = ticks.tick()
        assert isinstance(request, dg.RunRequest)
        used.append(request.run_key)
        _fail(ticks, request)
    assert len(set(used)) == 3


def test_a_publication_that_failed_is_tried_again_after_a_pause_that_grows(
    ticks: Ticks, shop: Shop, server: FaultServer
) -> None:
    _work(shop, server, "spring", FIRST)
    first = ticks.tick()
    assert isinstance(first, dg.RunRequest)
    _fail(ticks, first)
    assert "did not succeed, the next comes" in str(ticks.tick())
    ticks.later = 30.0
    assert isinstance(ticks.tick(), str)
    ticks.later = 70.0
    again = ticks.tick()
    assert isinstance(again, dg.RunRequest)
    assert again.run_key not in (None, first.run_key)
    _fail(ticks, again)
    ticks.later = 90.0
    assert isinstance(ticks.tick(), str)
    ticks.later = 130.0
    assert isinstance(ticks.tick(), dg.RunRequest)


def test_a_publication_that_nothing_was_heard_of_for_an_hour_does_not_block(
    ticks: Ticks, shop: Shop, server: FaultServer
) -> None:
    _work(shop, server, "spring", FIRST)
    ticks.run(dg.DagsterRunStatus.STARTED, PUBLISH_JOB)
    ticks.later = 3500.0
    assert ticks.tick() == "A publication is under way"
    ticks.later = 3700.0
    assert isinstance(ticks.tick(), dg.RunRequest)


def test_what_was_rolled_back_is_not_published_again_until_something_changes(
    ticks: Ticks, shop: Shop, server: FaultServer
) -> None:
    _work(shop, server, "spring", FIRST)
    shop.publish()
    _work(shop, server, "summer", ["bootie"])
    shop.publish()
    store = shop.deployment.store
    rollback(store)
    assert isinstance(ticks.tick(), str)
    now = current(store)
    assert now is not None
    assert now.restores == 1
    _work(shop, server, "autumn", ["slippers"])
    assert isinstance(ticks.tick(), dg.RunRequest)


def test_a_changed_index_setting_rebuilds_and_a_changed_table_setting_writes_the_table(
    ticks: Ticks, shop: Shop, server: FaultServer
) -> None:
    _work(shop, server, "spring", FIRST)
    shop.publish()
    shop.set(RECALL_TARGET="0.9")
    assert isinstance(ticks.tick(), dg.RunRequest)
    shop.publish()
    assert isinstance(ticks.tick(), str)
    shop.set(NEIGHBOURS=1)
    assert isinstance(ticks.tick(), dg.RunRequest)
    assert shop.publish().metadata["similarity_index"]["built"] is False
    assert isinstance(ticks.tick(), str)


def test_pauses_between_attempts_double_up_to_an_hour() -> None:
    failing = Situation("1 batch changed", attempts=1, rested=59.0)
    assert why_not_now(failing) is not None
    assert why_not_now(replace(failing, rested=60.0)) is None
    assert why_not_now(replace(failing, attempts=3, rested=239.0)) is not None
    assert why_not_now(replace(failing, attempts=3, rested=240.0)) is None
    assert why_not_now(replace(failing, attempts=500, rested=3600.0)) is None


def test_the_old_index_goes_on_while_batches_are_still_to_be_worked_with_other_models() -> None:
    switching = Situation("the embeddings changed", outdated=3, waited=1e6)
    assert "3 batches are still to be worked" in str(why_not_now(switching))
    assert why_not_now(replace(switching, outdated=0)) is None


def test_an_index_does_without_a_few_batches_but_not_without_most_of_the_shop() -> None:
    few = Situation("the embeddings changed", lost=5, batches=50)
    assert why_not_now(few) is None
    assert "6 of 50 batches could not be worked" in str(why_not_now(replace(few, lost=6)))
    assert why_not_now(replace(few, lost=1, batches=2)) is None
    assert why_not_now(replace(few, lost=2, batches=3)) is not None


def test_after_a_change_of_settings_the_index_waits_for_all_batches_but_not_for_one_that_cannot_be_worked(
    ticks: Ticks, shop: Shop, server: FaultServer
) -> None:
    good = shop.register(shop.catalog("spring", rows_of(server, FIRST)))
    bad = shop.register(shop.catalog("summer", rows_of(server, ["bootie"])))
    for batch in (good, bad):
        shop.work(batch)
    shop.publish()
    ticks.instance.add_dynamic_partitions("catalog_batch", [good.key, bad.key])
    shop.set(MIN_SCORE="0.9")
    before = shop.similar("bootie")
    assert "2 batches are still to be worked" in str(ticks.tick())
    shop.work(good)
    ticks.waited(1e6)
    assert "1 batch is still to be worked" in str(ticks.tick())
    assert shop.similar("bootie") == before

    models = shop.deployment.extractor.embeddings_fingerprint(shop.deployment.detector)
    for _ in range(3):
        ticks.run(dg.DagsterRunStatus.FAILURE, BATCH_JOB, **{MODELS_TAG: models, "dagster/partition": bad.key})
    request = ticks.tick()
    assert isinstance(request, dg.RunRequest)
    shop.publish()
    assert set(shop.similar("oak-chair")) == {*FIRST} - {"oak-chair"}
    # The batch counts again as soon as somebody has worked it.
    shop.work(bad)
    again = ticks.tick()
    assert isinstance(again, dg.RunRequest)
    assert again.run_key != request.run_key
    shop.publish()
    assert "bootie" in shop.similar("oak-chair")
