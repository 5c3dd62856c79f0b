"""What Dagster keeps of the asset checks."""

from collections.abc import Iterator

import dagster as dg
import pytest
from support.fault_server import FaultServer, status
from support.shops import Shop, rows_of

import assets.catalog as catalog_module
from orchestration.definitions import build_defs
from orchestration.runs import RunFailed, run_batch, run_publish
from vetrina.catalog.batches import Batch
from vetrina.catalog.shop import CatalogReport
from vetrina.errors import StoreError
from vetrina.index import tuning
from vetrina.index.versions import current, history
from vetrina.store import Store

OF_A_BATCH = {
    "coverage",
    "vectors_are_sound",
    "one_model_only",
    "class_mix_is_usual",
    "neighbour_distance_is_usual",
}
OF_THE_INDEX = {"recall_meets_target", "holds_every_batch", "pictures_are_stored"}
OF_THE_TABLE = {"table_matches_index", "k_is_filled"}


@pytest.fixture
def instance(shop: Shop) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def _evaluations(instance: dg.DagsterInstance, run_id: str | None = None) -> list[dg.AssetCheckEvaluation]:
    runs = [run_id] if run_id is not None else [run.run_id for run in instance.get_runs()]
    logs = [entry for run in runs for entry in instance.all_logs(run)]
    return [
        entry.dagster_event.asset_check_evaluation_data  # type: ignore[misc]
        for entry in logs
        if entry.dagster_event is not None and entry.dagster_event.event_type_value == "ASSET_CHECK_EVALUATION"
    ]


def test_every_batch_has_its_own_results_and_index_and_table_have_theirs(
    shop: Shop, server: FaultServer, instance: dg.DagsterInstance
) -> None:
    batches = [
        shop.register(shop.catalog("spring", rows_of(server, ["oak-chair", "box"]))),
        shop.register(shop.catalog("summer", rows_of(server, ["bootie"]))),
    ]
    for batch in batches:
        run_batch(instance, batch.key)
    found = _evaluations(instance)
    assert {(item.partition, item.check_name) for item in found} == {
        (batch.key, name) for batch in batches for name in OF_A_BATCH
    }
    assert all(item.passed for item in found)
    published = _evaluations(instance, run_publish(instance).run_id)
    assert {item.check_name for item in published} == OF_THE_INDEX | OF_THE_TABLE
    assert all(item.passed for item in published)


def test_several_batches_in_one_run_have_their_own_results_too(
    shop: Shop, server: FaultServer, instance: dg.DagsterInstance
) -> None:
    server.fail("/box.png", status(404))
    good = shop.register(shop.catalog("spring", rows_of(server, ["oak-chair", "bootie"])))
    bad = shop.register(shop.catalog("summer", rows_of(server, ["box"])))
    instance.add_dynamic_partitions("catalog_batch", [good.key, bad.key])
    result = (
        build_defs()
        .resolve_job_def("batch")
        .execute_in_process(
            instance=instance,
            tags={
                "dagster/asset_partition_range_start": good.key,
                "dagster/asset_partition_range_end": bad.key,
            },
        )
    )
    assert result.success
    found = {(item.partition, item.check_name): item for item in _evaluations(instance, result.run_id)}
    assert set(found) == {(batch.key, name) for batch in (good, bad) for name in OF_A_BATCH}
    assert found[good.key, "coverage"].passed
    assert not found[bad.key, "coverage"].passed
    assert found[bad.key, "coverage"].severity == dg.AssetCheckSeverity.WARN
    assert "http-404" in str(found[bad.key, "coverage"].description)


def test_a_range_of_one_batch_as_the_ui_asks_for_it_has_its_results_too(
    shop: Shop, server: FaultServer, instance: dg.DagsterInstance
) -> None:
    batch = shop.register(shop.catalog("spring", rows_of(server, ["oak-chair"])))
    instance.add_dynamic_partitions("catalog_batch", [batch.key])
    tags = {"dagster/asset_partition_range_start": batch.key, "dagster/asset_partition_range_end": batch.key}
    job = build_defs().resolve_job_def("batch")
    result = job.execute_in_process(instance=instance, tags=tags)
    assert result.success
    found = _evaluations(instance, result.run_id)
    assert {(item.partition, item.check_name) for item in found} == {(batch.key, name) for name in OF_A_BATCH}
    made = {event.materialization.asset_key.path[-1] for event in result.get_asset_materialization_events()}
    assert made == {"catalog", "raw_images", "crops", "label_table", "embeddings"}


def test_an_index_below_its_recall_target_is_not_published_and_the_former_goes_on(
    shop: Shop, server: FaultServer, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_batch(instance, shop.register(shop.catalog("spring", rows_of(server, ["oak-chair", "box"]))).key)
    run_publish(instance)
    store = shop.deployment.store
    before = history(store)
    run_batch(instance, shop.register(shop.catalog("summer", rows_of(server, ["bootie"]))).key)
    # So few items share one leaf, which is exact; a measurement that finds nothing stands for a poor Annoy file.
    monkeypatch.setattr(tuning, "timed_recalls", lambda vectors, index, truth, search_k: (0.0 * truth.kth, 0.1))
    shop.set(SERVE_WITH="annoy")
    with pytest.raises(RunFailed, match=r"^The new index finds 0\.000 .*was not published.*VETRINA_SERVE_WITH"):
        run_publish(instance)
    assert history(store) == before
    (recall,) = [
        item for item in _evaluations(instance) if item.check_name == "recall_meets_target" and not item.passed
    ]
    assert recall.blocking and recall.severity == dg.AssetCheckSeverity.ERROR
    assert set(shop.similar("box")) == {"oak-chair", "bootie"}  # the newer batch through the tail

    shop.set(SERVE_WITH="auto")  # exact search misses nothing
    run_publish(instance)
    now = current(store)
    assert now is not None
    assert now.number == before[0].number + 1


def test_an_error_for_people_is_not_tried_again_and_keeps_its_words(shop: Shop, instance: dg.DagsterInstance) -> None:
    with pytest.raises(RunFailed, match=r"^There is no batch 'never-heard-of' [^\n]*$"):
        run_batch(instance, "never-heard-of")
    (run,) = instance.get_runs()
    kinds = [entry.dagster_event.event_type_value for entry in instance.all_logs(run.run_id) if entry.dagster_event]
    assert "STEP_FAILURE" in kinds
    assert "STEP_UP_FOR_RETRY" not in kinds


def test_what_may_pass_by_itself_is_tried_again(
    shop: Shop, server: FaultServer, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = shop.register(shop.catalog("spring", rows_of(server, ["box"])))
    tries = []
    real = catalog_module.catalogue_batch

    def unsteady(store: Store, batch: Batch) -> CatalogReport:
        tries.append(batch.key)
        if len(tries) == 1:
            raise StoreError("The store answered 503; try again")
        return real(store, batch)

    monkeypatch.setattr(catalog_module, "catalogue_batch", unsteady)
    run_batch(instance, batch.key)
    assert tries == [batch.key] * 2


def test_every_asset_says_whose_it_is_what_it_is_made_by_and_what_it_is_for() -> None:
    graph = build_defs().resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    assert len(nodes) >= 9
    for node in nodes:
        assert node.owners == ["team:vetrina"]
        assert node.code_version
        assert node.description
        assert node.kinds
        assert node.group_name in {"products", "search", "models"}
        assert node.tags["domain"] == "visual-search"
