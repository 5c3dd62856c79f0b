"""Getting models ready from the settings, and a shop that runs on models from a hub."""

from pathlib import Path

import pytest
from support.fault_server import FaultServer, status
from support.hub_server import DETECTOR, EXTRACTOR, HubServer
from support.shops import Shop, rows_of

from orchestration import printing
from orchestration.definitions import build_defs
from orchestration.model_preparation import models_here, prepare_handles, prepare_missing, prepare_wanted
from vetrina.errors import ModelError, UnfitModel
from vetrina.models import models_folder


@pytest.fixture
def models_at_hand(bundled_models: None) -> Path:
    """Where the bundled models are, before a test gets a folder of its own."""
    return models_folder()


@pytest.fixture
def hub_shop(models_at_hand: Path, hub: HubServer, shop: Shop, hub_archives: dict[str, bytes]) -> Shop:
    """A shop whose settings name models of a hub that are not here yet; the bundled ones are."""
    for name in ("detectors", "extractors"):
        models_folder().mkdir(exist_ok=True)
        (models_folder() / name).symlink_to(models_at_hand / name)
    detector, extractor = (hub.publish(path, hub_archives[path]) for path in (DETECTOR, EXTRACTOR))
    shop.set(DETECTOR=detector, EXTRACTOR=extractor)
    return shop


def quiet(line: str) -> None:
    """Tells nobody."""


def test_what_the_settings_name_is_brought_when_it_is_missing_and_only_then(hub_shop: Shop, hub: HubServer) -> None:
    lines: list[str] = []
    prepare_missing(hub_shop.deployment, lines.append)
    assert [line for line in lines if "is ready" in line] == [
        f"Detector {hub.url(DETECTOR)} is ready",
        f"Extractor {hub.url(EXTRACTOR)} is ready: 1792 numbers from pictures of side 224",
    ]
    asked = len(hub.requests)
    prepare_missing(hub_shop.deployment, lambda line: pytest.fail(line))
    assert len(hub.requests) == asked
    build_defs()


def test_offline_and_in_dagster_a_missing_model_is_an_error(hub_shop: Shop, hub: HubServer) -> None:
    for detector in (hub.url(DETECTOR), f"{hub.url(DETECTOR)}#sha256={'0' * 64}"):
        hub_shop.set(DETECTOR=detector)
        with pytest.raises(ModelError, match=f"The detector {hub.url(DETECTOR)} is not ready .*run `vetrina models`"):
            build_defs()
    hub_shop.set(OFFLINE="yes")
    with pytest.raises(ModelError, match="not ready on this machine"):
        prepare_missing(hub_shop.deployment, quiet)
    with pytest.raises(ModelError, match="VETRINA_OFFLINE forbids to fetch it"):
        prepare_wanted(hub_shop.deployment, quiet)
    assert hub.requests == []


def test_the_bundled_models_are_not_fetched_offline(own_models: Path, shop: Shop) -> None:
    shop.set(OFFLINE="yes")
    with pytest.raises(ModelError, match="bundled:openimages-ssd is not on this machine, and VETRINA_OFFLINE forbids"):
        prepare_wanted(shop.deployment, quiet)


def test_at_installation_bundled_and_named_models_are_made_ready_and_listed(
    hub_shop: Shop, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_wanted(hub_shop.deployment, quiet)
    found = {(model["role"], model["handle"]): model for model in models_here()}
    assert set(found) == {
        ("detector", "bundled:openimages-ssd"),
        ("detector", hub.url(DETECTOR)),
        ("extractor", "bundled:efficientnet-lite0"),
        ("extractor", hub.url(EXTRACTOR)),
    }
    deployment = hub_shop.deployment
    assert found["detector", hub.url(DETECTOR)]["fingerprint"] == deployment.detector.identity().fingerprint
    assert found["extractor", hub.url(EXTRACTOR)]["fingerprint"] == deployment.extractor.identity().fingerprint
    assert found["extractor", hub.url(EXTRACTOR)]["bytes"] > 1_000_000
    assert found["detector", "bundled:openimages-ssd"]["bytes"] > 1_000_000
    assert found["detector", "bundled:openimages-ssd"]["kind"] == "bundled"
    assert found["extractor", hub.url(EXTRACTOR)]["kind"] == "saved_model"
    assert {model["problem"] for model in found.values()} == {None}
    (models_folder() / "saved_models").rename(models_folder() / "elsewhere")
    lost = [model for model in models_here() if model["kind"] == "saved_model"]
    assert all("not ready on this machine" in model["problem"] and model["bytes"] is None for model in lost)
    assert len(lost) == 2
    printing.models({"models": models_here()})
    shown = capsys.readouterr().out
    assert f"{hub.url(DETECTOR)} (saved_model): not ready: The detector {hub.url(DETECTOR)} is not ready" in shown
    assert f"bundled:openimages-ssd (bundled): {found['detector', 'bundled:openimages-ssd']['fingerprint']}, " in shown


def test_a_models_role_is_found_by_trying(hub_shop: Shop, hub: HubServer) -> None:
    sized = f"{hub.url(EXTRACTOR)}#side=224"
    prepare_handles(hub_shop.deployment, [sized, hub.url(DETECTOR)], None, quiet)
    assert [(model["role"], model["handle"]) for model in models_here()] == [
        ("detector", hub.url(DETECTOR)),
        ("extractor", sized),
    ]
    assert hub.count(HubServer.stored(EXTRACTOR)) == hub.count(HubServer.stored(DETECTOR)) == 1
    with pytest.raises(UnfitModel, match="is no extractor"):
        prepare_handles(hub_shop.deployment, [hub.url(DETECTOR)], "extractor", quiet)
    with pytest.raises(UnfitModel, match=r"Unknown extractor 'bundled:x'.*; Unknown detector 'bundled:x'"):
        prepare_handles(hub_shop.deployment, ["bundled:x"], None, quiet)


def test_a_model_that_cannot_be_had_is_not_asked_for_in_another_role(hub_shop: Shop, hub: HubServer) -> None:
    hub.fail(DETECTOR, status(404))
    with pytest.raises(ModelError, match="answered 404"):
        prepare_handles(hub_shop.deployment, [hub.url(DETECTOR)], None, quiet)
    assert hub.count(DETECTOR) == 1


def test_a_shop_runs_on_models_of_a_hub(hub_shop: Shop, hub: HubServer, server: FaultServer) -> None:
    prepare_missing(hub_shop.deployment, quiet)
    asked = len(hub.requests)
    names = ["bootie", "coffee-cup", "oak-chair", "white-chair"]
    batch = hub_shop.register(hub_shop.catalog("spring", rows_of(server, names)))
    run = hub_shop.work(batch)
    assert run.metadata["crops"]["detected"] == 4
    assert run.metadata["embeddings"]["embedded"] == 8  # each whole, and the one thing on it
    hub_shop.publish()
    assert hub_shop.similar("white-chair")[0] == "oak-chair"
    assert len(hub.requests) == asked


def test_a_note_of_a_model_that_cannot_be_read_is_passed_over(own_models: Path) -> None:
    (own_models / "prepared").mkdir(parents=True)
    for number, text in enumerate(["{", "[]", '{"role": "detector"}', '{"role": "extractor", "handle": "nonsense"}']):
        (own_models / f"prepared/{number}.json").write_text(text)
    assert [(model["handle"], model["kind"]) for model in models_here()] == [("nonsense", None)]
    assert "names no model" in models_here()[0]["problem"]
