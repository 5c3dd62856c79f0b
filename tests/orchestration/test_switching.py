"""A switch to another extractor, in stages: the old index answers throughout, then the new one, and back."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from support.extractors import HANDLE, Colours, offer_colours
from support.fault_server import FaultServer
from support.shops import Shop, opened_shop, rows_of

from orchestration import printing, switching
from orchestration.comparison_printing import switched
from orchestration.model_change import model_change_sensor
from orchestration.rebuild import rebuild_sensor
from orchestration.switching import switch_extractor
from orchestration.upkeep import roll_back
from vetrina.catalog.batches import list_batches
from vetrina.embedding.vectors import embeddings_path
from vetrina.errors import ModelError, NotFound, RecallTooLow
from vetrina.garbage.needed import Fingerprints
from vetrina.garbage.sweep import sweep
from vetrina.index import tuning
from vetrina.index.settings import TableSettings
from vetrina.index.versions import history, verify
from vetrina.settings import Settings
from vetrina.tables import read_metadata

LITE = "bundled:efficientnet-lite0"
SPRING, SUMMER = ["oak-chair", "white-chair", "box"], ["coffee-cup", "bootie"]
Answers = dict[str, list[tuple[str, float]]]


@pytest.fixture(scope="module")
def template(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[tuple[Shop, FaultServer]]:
    """Two batches, published with the bundled extractor."""
    pictures = {f"/{name}.png": data for name, data in product_pictures.items()}
    with FaultServer(pictures) as server, opened_shop(tmp_path_factory.mktemp("switch")) as shop:
        for name, products in (("spring", SPRING), ("summer", SUMMER)):
            shop.work(shop.register(shop.catalog(name, rows_of(server, products))))
        shop.publish()
        yield shop, server


@pytest.fixture
def stocked(template: tuple[Shop, FaultServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """The shop of the template with a store of the test's own."""
    shop, _ = template
    shutil.copytree(shop.folder / "store", tmp_path / "store")
    shop.set(STORE=tmp_path / "store")
    offer_colours(monkeypatch)
    yield shop
    shop.set(STORE=shop.folder / "store")


def switch(shop: Shop, model: str = HANDLE, *, dry_run: bool = False) -> dict[str, Any]:
    return switch_extractor(shop.deployment, model, dry_run=dry_run, progress=printing.Steps(quiet=True))


def answers(shop: Shop, photo: bytes) -> Answers:
    """Every neighbour of every product and of a photo, with its score."""
    window = shop.deployment.window()
    found = {name: window.similar(name, 20).answer for name in (*SPRING, *SUMMER)}
    found["(photo)"] = window.search(window.photo(photo), 20).answer
    return {name: [(other.product_id, other.score) for other in said.neighbours] for name, said in found.items()}


def tick(sensor: dg.SensorDefinition, instance: dg.DagsterInstance) -> list[dg.RunRequest] | str:
    with dg.build_sensor_context(instance=instance, cursor=None) as context:
        result = sensor.evaluate_tick(context)
    return list(result.run_requests or []) or str(result.skip_message)


def test_the_old_index_answers_until_all_is_there_and_the_new_one_after_the_setting_changed(
    stocked: Shop,
    template: tuple[Shop, FaultServer],
    product_pictures: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photo, store = product_pictures["umbrella"], stocked.deployment.store
    before, records = answers(stocked, photo), history(store)
    during: list[Answers] = []
    plain = Colours.embed

    def embed(self: Colours, pictures: Any) -> np.ndarray:
        if len(during) < 3:
            during.append(answers(stocked, photo))  # whatever is embedded so far
        return plain(self, pictures)

    # First stage: all is embedded and judged, nothing is served otherwise.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Colours, "embed", embed)
        prepared = switch(stocked)
    assert during == [before] * 3
    assert prepared["embedding"]["embedded"] == prepared["cost"]["to_embed"] > 0
    assert (prepared["in_use"], prepared["published"], prepared["lost"]) == (False, None, [])
    assert prepared["index"]["products"] == len(before) - 1
    assert f"set VETRINA_EXTRACTOR={HANDLE} for every process" in prepared["next"]
    assert answers(stocked, photo) == before
    assert history(store) == records
    with dg.DagsterInstance.ephemeral() as instance:
        # Under the old setting a daemon has nothing to do: nothing is rebuilt to and fro.
        assert "are what the batches give" in str(tick(rebuild_sensor(Settings.from_environment()), instance))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("VETRINA_EXTRACTOR", HANDLE)
            assert answers(stocked, photo) == before  # photos are still embedded by the old index's extractor
            settings = Settings.from_environment()
            assert "embedded by the models in use" in str(tick(model_change_sensor(settings), instance))
            (request,) = tick(rebuild_sensor(settings), instance)
            assert isinstance(request, dg.RunRequest)

    # A batch that arrives now is found by the old index.
    stocked.work(stocked.register(stocked.catalog("late", rows_of(template[1], ["teddy-bear"]))))
    with_late = answers(stocked, photo)
    assert all("teddy-bear" in dict(found) for found in with_late.values())

    # Last stage: only the late batch is left to be embedded.
    monkeypatch.setenv("VETRINA_EXTRACTOR", HANDLE)
    assert answers(stocked, photo) == with_late
    done = switch(stocked)
    assert (done["cost"]["batches"], done["embedding"]["batches"]) == (1, 1)
    assert done["published"]["built"]
    assert done["published"]["products"] == len(before)
    assert done["next"].startswith(f"{HANDLE} serves now")
    after = answers(stocked, photo)
    assert {name: set(dict(found)) for name, found in after.items()} == {
        name: set(dict(found)) for name, found in with_late.items()
    }
    assert after != with_late

    # Vectors of the two never met: an index of each, of embeddings under names of their own.
    manifests = [verify(store, record) for record in reversed(history(store))]
    assert [(manifest.extractor, manifest.raw_dims) for manifest in manifests] == [(LITE, 1280), (HANDLE, Colours.dims)]
    for manifest in manifests:
        paths = [embeddings_path(batch, manifest.fingerprints["embeddings"]) for batch in list_batches(store)]
        notes = [read_metadata(store, path) for path in paths]
        assert {found["extractor"] for found in notes if found} == {manifest.fingerprints["extractor"]}

    # Back: the old index answers again, photos as well, and says which extractor it wants.
    report = roll_back(stocked.deployment, None)
    assert answers(stocked, photo) == with_late
    assert (report["extractor"], report["other_extractor"]) == (LITE, True)
    printing.published(report)
    assert f"set VETRINA_EXTRACTOR to {LITE}" in capsys.readouterr().out
    monkeypatch.setenv("VETRINA_EXTRACTOR", LITE)
    assert answers(stocked, photo) == with_late
    assert roll_back(stocked.deployment, done["published"]["version"])["other_extractor"]
    assert answers(stocked, photo) == after


def test_what_serves_already_is_not_published_again(stocked: Shop) -> None:
    found = switch(stocked, LITE)
    assert (found["in_use"], found["cost"]["to_embed"], found["embedding"]) == (True, 0, None)
    assert not found["published"]["built"]
    assert found["next"].startswith(f"{LITE} serves already")


def test_a_dry_run_says_what_it_would_cost_and_does_nothing(
    stocked: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = stocked.deployment.store
    before = {file.path for file in store.walk("") if not file.path.startswith("locks")}
    monkeypatch.setattr(switching, "seconds_for_each", lambda extractor, crops, workers: 100.0 * len(crops[:1]))
    found = switch(stocked, dry_run=True)
    cost = found["cost"]
    assert cost["batches"] == 2
    assert 0 < cost["to_embed"] <= cost["crops"]
    assert cost["seconds"] == 100 * cost["to_embed"]
    assert {file.path for file in store.walk("") if not file.path.startswith("locks")} == before
    switched(found)
    assert "are to be embedded" in capsys.readouterr().out


def test_an_index_that_would_find_too_little_is_not_prepared(stocked: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VETRINA_SERVE_WITH", "annoy")
    monkeypatch.setattr(tuning, "timed_recalls", lambda vectors, index, truth, search_k: (0.0 * truth.kth, 0.1))
    records = history(stocked.deployment.store)
    with pytest.raises(RecallTooLow, match="so it was not published and the former version goes on"):
        switch(stocked)
    assert history(stocked.deployment.store) == records


def test_a_batch_that_cannot_be_embedded_stops_the_switch_and_is_named(
    stocked: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = stocked.deployment.store
    batch = list_batches(store)[0]
    labels = stocked.deployment.detector.labels_fingerprint()
    store.write(batch.path(f"labels/{labels}.parquet"), b"no table any more")
    found = switch(stocked)
    assert len(found["lost"]) == 1
    assert found["lost"][0].startswith(f"Batch {batch.key} could not be embedded: ")
    assert found["index"] is found["published"] is None
    assert "goes on serving" in found["next"]
    switched(found)
    assert batch.key in capsys.readouterr().out
    monkeypatch.setenv("VETRINA_EXTRACTOR", HANDLE)
    assert switch(stocked)["published"] is None


def test_without_an_index_or_with_an_unknown_model_it_is_refused(stocked: Shop, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did you mean 'bundled:efficientnet-lite0'"):
        switch(stocked, "bundled:efficientnet-lit0")
    stocked.set(STORE=tmp_path / "another-store")
    with pytest.raises(NotFound, match=r"no index in .* yet, so there is nothing to switch: set VETRINA_EXTRACTOR"):
        switch(stocked)


def test_garbage_collection_leaves_a_prepared_switch_alone_for_a_month(stocked: Shop) -> None:
    switch(stocked)
    deployment = stocked.deployment
    models = asdict(deployment.wanted())["fingerprints"]
    now = Fingerprints(**models, table=TableSettings())
    made = deployment.with_extractor(HANDLE).extractor.embeddings_fingerprint(deployment.detector)
    paths = [embeddings_path(batch, made) for batch in list_batches(deployment.store)]

    def swept_in(days: int) -> None:
        clock = datetime.now(UTC) + timedelta(days=days)
        sweep(deployment.store, now, keep_versions=1, grace=timedelta(days=1), clock=clock)

    swept_in(20)
    assert all(deployment.store.exists(path) for path in paths)
    assert deployment.store.names(f"vectors/{Colours.fingerprint}")
    swept_in(40)
    assert not any(deployment.store.exists(path) for path in paths)


def test_an_index_of_before_handles_were_noted_searches_photos_by_the_settings_extractor(
    stocked: Shop, product_pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    window = stocked.deployment.window()
    object.__setattr__(window.index.manifest, "extractor", "")
    assert window.photo(product_pictures["box"]).query.vectors.shape[1] == 1280
    monkeypatch.setenv("VETRINA_EXTRACTOR", HANDLE)
    window = stocked.deployment.window()
    object.__setattr__(window.index.manifest, "extractor", "")
    with pytest.raises(NotFound, match=r"its manifest does not say which.*set VETRINA_EXTRACTOR back"):
        window.photo(product_pictures["box"])
    object.__setattr__(window.index.manifest, "extractor", "bundled:gone")
    with pytest.raises(NotFound, match="Unknown extractor 'bundled:gone'"):
        window.photo(product_pictures["box"])
    object.__setattr__(window.index.manifest, "extractor", HANDLE)
    with pytest.raises(NotFound, match="test:colours is another model by now"):
        window.photo(product_pictures["box"])
