"""Another detector, class list or extractor: what becomes stale, what is worked again, and what is served meanwhile."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from support.extractors import HANDLE, Colours, offer_colours
from support.fault_server import FaultServer
from support.shops import Shop, rows_of

from assets.partitions import catalog_batch
from orchestration.definitions import build_defs
from orchestration.jobs import BATCH_JOB
from orchestration.model_change import Backfill, backfill_so_far, model_change_sensor, requests, stretches
from orchestration.runs import run_batch, run_publish
from vetrina.catalog.batches import Batch
from vetrina.index.versions import current, verify
from vetrina.settings import Settings
from vetrina.tables import LABELS, write_table

OF_A_BATCH = ("catalog", "raw_images", "crops", "label_table", "embeddings")
OF_THE_SHOP = ("similarity_index", "similar_products")
PRODUCTS = (["oak-chair", "white-chair"], ["coffee-cup", "box"], ["bootie", "slippers"])


@pytest.fixture
def instance(shop: Shop) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def _three_batches(shop: Shop, server: FaultServer, instance: dg.DagsterInstance) -> list[Batch]:
    batches = [shop.register(shop.catalog(f"c{n}", rows_of(server, names))) for n, names in enumerate(PRODUCTS)]
    for batch in batches:
        run_batch(instance, batch.key)
    run_publish(instance)
    return batches


def _stale(instance: dg.DagsterInstance, batches: list[Batch]) -> set[str]:
    """Assets that Dagster calls stale under the settings in force; those of a batch are so for every batch."""
    graph = build_defs().resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, loading_context=LoadingContextForTest(instance))
    found = set()
    for name in OF_A_BATCH:
        states = {resolver.get_status(dg.AssetKey(name), batch.key).value for batch in batches}
        assert len(states) == 1, (name, states)
        if states == {"STALE"}:
            found.add(name)
    found |= {name for name in OF_THE_SHOP if resolver.get_status(dg.AssetKey(name)).value == "STALE"}
    return found


def _tick(instance: dg.DagsterInstance) -> list[dg.RunRequest] | str:
    with dg.build_sensor_context(instance=instance) as context:
        result = model_change_sensor(Settings.from_environment())(context)
    if isinstance(result, dg.SkipReason):
        return str(result.skip_message)
    assert isinstance(result, dg.SensorResult)
    return list(result.run_requests or [])


def _execute(instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    return (
        build_defs()
        .resolve_job_def(BATCH_JOB)
        .execute_in_process(
            instance=instance,
            partition_key=request.partition_key,
            asset_selection=list(request.asset_selection or []),
            tags=dict(request.tags),
            raise_on_error=False,
        )
    )


def test_only_what_another_model_or_setting_affects_becomes_stale(
    shop: Shop, server: FaultServer, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_colours(monkeypatch)
    batches = _three_batches(shop, server, instance)
    assert _stale(instance, batches) == set()
    shop.set(EXTRACTOR=HANDLE)
    assert _stale(instance, batches) == {"embeddings", *OF_THE_SHOP}
    shop.set(EXTRACTOR="bundled:efficientnet-lite0", MIN_SCORE="0.9")
    assert _stale(instance, batches) == {"crops", "label_table", "embeddings", *OF_THE_SHOP}
    shop.set(MIN_SCORE="", CLASSES="Chair")
    assert _stale(instance, batches) == {"crops", "label_table", "embeddings", *OF_THE_SHOP}
    shop.set(CLASSES="general", RECALL_TARGET="0.9")
    assert _stale(instance, batches) == set(OF_THE_SHOP)
    shop.set(RECALL_TARGET="0.99", NEIGHBOURS=3)
    assert _stale(instance, batches) == {"similar_products"}
    shop.set(NEIGHBOURS=10)
    assert _stale(instance, batches) == set()


def test_a_run_that_changes_nothing_makes_nothing_stale(
    shop: Shop, server: FaultServer, instance: dg.DagsterInstance
) -> None:
    batches = _three_batches(shop, server, instance)
    run_batch(instance, batches[0].key)
    assert _stale(instance, batches) == set()


def test_another_extractor_works_all_batches_in_one_process_while_the_old_index_goes_on_serving(
    shop: Shop, server: FaultServer, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_colours(monkeypatch)
    batches = _three_batches(shop, server, instance)
    before = {name: shop.similar(name) for names in PRODUCTS for name in names}
    old = shop.deployment.window().index.manifest
    shop.set(EXTRACTOR=HANDLE)

    (request,) = _tick(instance)
    assert {name: shop.similar(name) for name in before} == before
    result = _execute(instance, request)
    assert result.success
    assert len(Colours.worked) == 1  # one load of the model for three batches
    made = [event.materialization for event in result.get_asset_materialization_events()]
    assert {(item.asset_key.path[-1], item.partition) for item in made} == {
        (asset, batch.key) for asset in ("crops", "label_table", "embeddings") for batch in batches
    }
    by_batch = {item.partition: item.metadata for item in made if item.asset_key.path[-1] == "embeddings"}
    assert {by_batch[batch.key]["products"].value for batch in batches} == {2}
    assert len({by_batch[batch.key]["path"].value for batch in batches}) == 3
    assert {item.metadata["detected"].value for item in made if item.asset_key.path[-1] == "crops"} == {0}

    assert shop.deployment.window().index.manifest == old
    assert {name: shop.similar(name) for name in before} == before
    run_publish(instance)
    manifest = shop.deployment.window().index.manifest
    assert (manifest.products, manifest.raw_dims) == (6, Colours.dims)
    assert manifest.fingerprints["extractor"] == Colours.fingerprint
    assert _stale(instance, batches) == set()
    assert "embedded by the models in use" in str(_tick(instance))
    assert all(len(shop.similar(name)) == 5 for name in before)


def _damage(shop: Shop, batch: Batch) -> None:
    """The batch's record of pictures becomes a table of something else."""
    write_table(shop.deployment.store, batch.path("images.parquet"), LABELS, [])


def test_a_batch_that_fails_among_many_is_named_and_costs_the_others_nothing(
    shop: Shop, server: FaultServer, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = _three_batches(shop, server, instance)
    bad = batches[1]
    _damage(shop, bad)
    shop.set(MIN_SCORE="0.9")
    (request,) = _tick(instance)
    first = _execute(instance, request)
    assert not first.success
    (failure,) = first.filter_events(lambda event: event.is_step_failure)
    assert failure.step_key == "crops_and_labels"
    message = failure.step_failure_data.error.message
    assert "1 of 3 batches failed" in message
    assert bad.key in message
    assert "images.parquet" in message
    recorded = {event.materialization.partition for event in first.get_asset_materialization_events()}
    assert recorded == {batches[0].key, batches[2].key}

    # In pieces that are smaller each time the good ones come through, and the bad one is left to a person.
    asked: list[dg.RunRequest] | str = []
    for ahead in (61.0, 200.0, 600.0):
        clock = SimpleNamespace(time=lambda ahead=ahead: time.time() + ahead)
        monkeypatch.setattr("orchestration.model_change.time", clock)
        asked = _tick(instance)
        for again in asked if isinstance(asked, list) else []:
            _execute(instance, again)
    assert isinstance(asked, str)
    assert "1 batch could not be worked" in asked
    assert bad.key in asked
    assert [batch.key for batch in shop.deployment.outdated()] == [bad.key]


def test_neighbours_in_dagsters_order_share_a_run_and_gaps_part_them() -> None:
    so_far = Backfill([f"b{n}" for n in range(250)], active={"b3"})
    outdated = [f"b{n}" for n in range(250) if n != 7]
    found = stretches(outdated, so_far, now=1e9)
    assert [(keys[0], keys[-1], len(keys)) for keys in found] == [
        ("b0", "b2", 3),
        ("b4", "b6", 3),
        ("b8", "b107", 100),
        ("b108", "b207", 100),
        ("b208", "b249", 42),
    ]


def test_what_failed_is_asked_for_in_smaller_pieces_and_not_at_once() -> None:
    so_far = Backfill([f"b{n}" for n in range(25)])
    so_far.attempts.update({f"b{n}": 1 for n in range(25)})
    so_far.ended.update({f"b{n}": 1000.0 for n in range(25)})
    outdated = list(so_far.order)
    assert stretches(outdated, so_far, now=1059.0) == []
    assert [len(keys) for keys in stretches(outdated, so_far, now=1061.0)] == [10, 10, 5]
    so_far.attempts.update({f"b{n}": 1 for n in range(25)})
    assert stretches(outdated, so_far, now=1119.0) == []
    assert [len(keys) for keys in stretches(outdated, so_far, now=1121.0)] == [1] * 25
    so_far.attempts.update({f"b{n}": 1 for n in range(25)})
    assert so_far.given_up("b0")
    assert stretches(outdated, so_far, now=1000.0 + 6 * 3600 - 1) == []
    # Hours later all begins again, in one run, in case it was the store.
    assert [len(keys) for keys in stretches(outdated, so_far, now=1001.0 + 6 * 3600)] == [25]


def test_many_batches_that_fail_are_all_given_up_and_no_run_is_asked_for_under_a_used_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestration.run_history._MOST", 5)  # fewer than the runs there will be
    keys = [f"b{n}" for n in range(5)]
    job = build_defs().resolve_job_def(BATCH_JOB)
    used: list[str | None] = []
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(catalog_batch.name), keys)
        for attempt in range(2 * 3):
            now = time.time() + 7 * 3600
            so_far = backfill_so_far(instance, "models", now)
            assert [so_far.given_up(key) for key in keys] == [attempt >= 3] * 5
            asked = requests("models", stretches(keys, so_far, now), so_far)
            assert len(asked) == (1, 1, 5)[attempt % 3]
            used += [request.run_key for request in asked]
            for request in asked:
                tags = dict(request.tags)
                if request.partition_key is not None:
                    tags["dagster/partition"] = request.partition_key
                instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.FAILURE)
    assert len(set(used)) == len(used)


def test_batches_of_another_dagster_history_become_partitions_first(
    shop: Shop, server: FaultServer, instance: dg.DagsterInstance
) -> None:
    batches = _three_batches(shop, server, instance)
    shop.set(MIN_SCORE="0.9")
    with dg.DagsterInstance.ephemeral() as fresh:
        with dg.build_sensor_context(instance=fresh) as context:
            result = model_change_sensor(Settings.from_environment()).evaluate_tick(context)
        (add,) = result.dynamic_partitions_requests or []
        assert list(add.partition_keys) == [batch.key for batch in batches]
        assert not result.run_requests
        fresh.add_dynamic_partitions(str(catalog_batch.name), list(add.partition_keys))
        (request,) = _tick(fresh)
        assert request.tags["dagster/asset_partition_range_end"] == batches[-1].key


def test_an_index_that_had_to_leave_a_batch_out_says_which(
    shop: Shop, server: FaultServer, instance: dg.DagsterInstance
) -> None:
    batches = _three_batches(shop, server, instance)
    shop.set(MIN_SCORE="0.9")
    run_batch(instance, batches[0].key)
    run_publish(instance)
    published = current(shop.deployment.store)
    assert published is not None
    assert verify(shop.deployment.store, published).products == 2
    key = dg.AssetCheckKey(dg.AssetKey("similarity_index"), "holds_every_batch")
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert record.event is not None
    evaluation = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
    assert not evaluation.passed
    assert evaluation.metadata["left_out"].value == [batches[1].key, batches[2].key]


def test_the_identity_of_the_bundled_models_is_that_of_the_opened_ones(shop: Shop, tmp_path: Path) -> None:
    deployment = shop.deployment
    detector, extractor = deployment.detector, deployment.extractor
    assert detector.identity().fingerprint == detector.open().fingerprint
    assert detector.identity().vocabulary == detector.open().vocabulary
    assert extractor.identity().fingerprint == extractor.open(deployment.store).fingerprint
