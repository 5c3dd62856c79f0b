"""Fine-tuning as a shop meets it: assets, one run, a model that can be used at once, and every refusal in words."""

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from support.drawn import drawn_square
from support.fault_server import FaultServer
from support.processes import REPOSITORY
from support.shops import Shop, opened_shop
from support.taught_shop import HELD, LEARNT, PLAN, SPLIT, kind_pictures, kind_rows, teach
from support.tiny_models import FINGERPRINT, HANDLE, LABELS, noise, offer_tiny, png, publish_tiny

from assets.models import TunedExtractorConfig
from orchestration.home import open_instance
from orchestration.runs import RunFailed
from orchestration.upkeep import collect_garbage
from vetrina.embedding.extractor import DEFAULT_EXTRACTOR, open_extractor
from vetrina.errors import ModelError, SettingError
from vetrina.evaluation.evaluation import NO_LABEL
from vetrina.finetuning.plan import Plan
from vetrina.finetuning.training_set import (
    HELD_OUT,
    LEARN,
    LEFT_OUT,
    LIKE_HELD_OUT,
    Request,
    read_training_set,
)
from vetrina.garbage.needed import Fingerprints
from vetrina.garbage.sweep import sweep
from vetrina.index.settings import TableSettings
from vetrina.models import models_folder, sha256_hex
from vetrina.store import Store
from vetrina.tables import SPLIT as SPLIT_TABLE
from vetrina.tables import read_rows

Taught = tuple[Shop, dict[str, Any], list[str]]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, bundled_models: None) -> Iterator[Taught]:
    """A shop of drawn things, the report of a fine-tuning there, and what was said meanwhile."""
    stars = {f"/star-{number}.png": png(picture) for number, picture in enumerate(noise(3))}
    folder = tmp_path_factory.mktemp("taught")
    with (
        FaultServer(kind_pictures() | stars) as server,
        opened_shop(folder / "shop") as shop,
        pytest.MonkeyPatch.context() as environment,
    ):
        offer_tiny(environment)
        shop.add(shop.catalog("things", kind_rows(server)))
        # The detector is at hand; what is made of models in this test goes elsewhere.
        shutil.copytree(models_folder(), folder / "models")
        environment.setenv("VETRINA_MODELS", str(folder / "models"))
        yield shop, *teach(shop)


def metadata_of(asset: str) -> dict[str, Any]:
    """What the newest materialization says."""
    event = open_instance().get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None and event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_a_shop_is_taught_and_told_how_well(taught: Taught) -> None:
    shop, report, lines = taught
    assert report["trained"] and report["handle"] == f"models/{report['fingerprint']}"
    assert report["classes"] == sorted(LABELS)
    quality = report["classification"]
    assert quality["products"] == HELD * len(LABELS)
    assert quality["accuracy"]["low"] <= quality["accuracy"]["value"] <= quality["accuracy"]["high"]
    assert report["part"] == "test" and report["unasked"] == 0
    assert report["retrieval"]["queries"] == HELD * len(LABELS)
    assert report["retrieval"]["searched"] == LEARNT * len(LABELS)
    assert report["data"]["left_out"] == {NO_LABEL: 1, LIKE_HELD_OUT: 1}
    assert report["data"]["classes_left_out"] == {"star": 2}
    assert report["data"]["duplicates"] == {"groups": 1, "products": 2}
    for parts in report["data"]["classes"].values():
        assert parts["train"] + parts["validation"] == LEARNT and parts["test"] == HELD
    assert [line for line in lines if line.startswith("Epoch 1:")] and lines[-1] == f"Published {report['handle']}"
    assert Path(report["card"]).is_file()
    assert report["next"] == [
        f"vetrina compare {shop.deployment.settings.extractor} {report['handle']} --label kind --split part=held",
        f"vetrina switch {report['handle']}",
        f"export VETRINA_EXTRACTOR={report['handle']}",
    ]


def test_the_training_set_says_what_every_product_is_for(taught: Taught) -> None:
    shop = taught[0]
    chosen = read_training_set(shop.deployment.store, Request("kind", SPLIT))
    members = {one.product_id: one for one in chosen.members}
    assert len(members) == len(LABELS) * (LEARNT + HELD) + 4
    assert (members["lime 0"].part, members["lime 0"].label) == (LEARN, "lime")
    assert members[f"lime {LEARNT}"].part == HELD_OUT
    assert (members["copy"].part, members["copy"].reason) == (LEFT_OUT, LIKE_HELD_OUT)
    assert members["copy"].group == members[f"lime {LEARNT}"].group
    assert (members["nameless"].part, members["nameless"].reason) == (LEFT_OUT, NO_LABEL)
    said = metadata_of("training_set")
    assert said["products"] == chosen.counts() and said["near_duplicate_groups"] == 1
    assert "| lime | 12 | 5 |" in said["classes"]


def test_the_split_and_every_answer_are_kept_beside_the_model(taught: Taught) -> None:
    shop, report, _ = taught
    rows = list(read_rows(shop.deployment.store, f"{report['folder']}/split.parquet", SPLIT_TABLE))
    tested = [row for row in rows if row["part"] == "test"]
    assert {row["product_id"] for row in tested} == {
        f"{label} {number}" for label in LABELS for number in range(LEARNT, LEARNT + HELD)
    }
    right = sum(row["label"] == row["predicted"] for row in tested)
    assert right / len(tested) == pytest.approx(report["classification"]["accuracy"]["value"], abs=1e-6)
    assert not any(row["predicted"] for row in rows if row["part"] != "test")


def test_the_run_shows_tables_and_small_pictures(taught: Taught) -> None:
    said = metadata_of("tuned_extractor")
    assert said["handle"] == taught[1]["handle"]
    assert said["accuracy_low"] <= said["accuracy"] <= said["accuracy_high"]
    assert "| class | products | precision | recall | F1 |" in said["classes"]
    for name in ("confusion", "curves"):
        assert said[name].startswith(f"![{name}](data:image/png;base64,") and len(said[name]) < 140_000


def test_its_logs_are_for_tensorboard(taught: Taught) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shop, report, _ = taught
    logs = EventAccumulator(str(Path(shop.deployment.store.root) / report["folder"] / "tensorboard"))
    logs.Reload()
    assert "val_loss" in logs.Tags()["scalars"] + logs.Tags()["tensors"]


def test_the_same_command_again_trains_nothing(taught: Taught) -> None:
    shop, report, _ = taught
    again, lines = teach(shop)
    assert not again["trained"]
    assert again["handle"] == report["handle"] and again["classification"] == report["classification"]
    assert not [line for line in lines if line.startswith("Epoch")]
    assert not (models_folder() / "training").exists() or not any((models_folder() / "training").iterdir())


def test_a_killed_training_goes_on_where_it_was(taught: Taught) -> None:
    shop = taught[0]
    before = set(shop.deployment.store.names("models"))
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}", "KILL_AFTER": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "support.taught_shop"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == -9, done.stderr[-3000:]
    assert set(shop.deployment.store.names("models")) == before
    report, lines = teach(shop, seed=5)
    assert "The run goes on after epoch 2" in lines
    assert [line.split(":")[0] for line in lines if line.startswith("Epoch")] == ["Epoch 3", "Epoch 4"]
    assert report["trained"] and report["epochs"] == 4


def test_the_handle_opens_the_new_extractor_which_is_not_the_old_one(
    taught: Taught,
) -> None:
    shop, report, _ = taught
    tuned = open_extractor(report["handle"], shop.deployment.store)
    assert tuned.fingerprint == report["fingerprint"] != FINGERPRINT
    vectors = tuned.embed([drawn_square("lime", 1, 50), drawn_square("lime", 1, 50), drawn_square("plum", 1, 50)])
    assert vectors.shape == (3, report["dims"])
    assert np.array_equal(vectors[0], vectors[1]) and not np.allclose(vectors[0], vectors[2])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_garbage_collection_keeps_a_model_in_use_and_lists_one_that_is_not(
    taught: Taught,
) -> None:
    shop, report, _ = taught
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("VETRINA_EXTRACTOR", report["handle"])
        in_use = collect_garbage(shop.deployment, keep_versions=1, older_than_days=0, dry_run=True, models=True)
    unused = collect_garbage(shop.deployment, keep_versions=1, older_than_days=0, dry_run=True)
    assert not any(report["handle"] in line for line in in_use["models"]) and "models" not in unused["kinds"]
    assert any(line.startswith(f"{report['handle']}, taught kind on ") for line in unused["models"])


def test_garbage_collection_deletes_models_only_when_told_to_and_unfinished_ones_always(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    model = publish_tiny(store, tmp_path)
    store.write("models/0011223344556677/extractor.tflite", b"killed before its description was written")
    nothing = Fingerprints("d", "l", "x", "e", table=TableSettings())
    later = datetime.now(UTC) + timedelta(days=3)
    options = {"keep_versions": 1, "grace": timedelta(days=1), "clock": later}
    assert sweep(store, nothing, **options).models
    assert store.names("models") == [model.fingerprint]
    swept = sweep(store, nothing, models=True, **options)
    assert swept.kinds["models"].files == len(model.files) + 1
    assert list(store.walk("models")) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label": "kin"}, "No product has the attribute 'kin'; did you mean 'kind'"),
        ({"label": "same"}, "By 'same' all 36 products to learn from are 'yes', so there is nothing to tell apart"),
        ({"split": "part=hold"}, "No product has part = 'hold'; did you mean 'held'"),
        ({"split": "kind=lime"}, "No product held out by --split kind=lime has a 'kind' that is learnt"),
        ({"min_per_class": 13}, "Fewer than two classes of kind have 13 different products or more; too small are"),
        ({"base": "bundled:nothing"}, "Unknown extractor 'bundled:nothing'"),
        ({"base": "./a-folder"}, "a-folder cannot be trained further: take a bundled: or a keras: extractor"),
        ({"learning_rate": 1e30}, "Train with a lower learning rate"),
    ],
)
def test_what_cannot_be_learnt_is_one_sentence_and_leaves_nothing(
    taught: Taught, changes: dict[str, Any], said: str
) -> None:
    shop = taught[0]
    before = {
        file.path: sha256_hex(shop.deployment.store.read(file.path)) for file in shop.deployment.store.walk("models")
    }
    with pytest.raises((RunFailed, ModelError, SettingError), match=said) as error:
        teach(shop, **changes)
    assert "\n" not in str(error.value) and "Traceback" not in str(error.value)
    after = {
        file.path: sha256_hex(shop.deployment.store.read(file.path)) for file in shop.deployment.store.walk("models")
    }
    assert after == before


def test_a_command_that_is_wrong_in_itself_starts_no_run(taught: Taught) -> None:
    shop = taught[0]
    runs = len(open_instance().get_runs())
    for changes, said in (({"split": "held"}, "ATTRIBUTE=VALUE"), ({"epochs": 0}, "must be at least 1")):
        with pytest.raises(SettingError, match=said):
            teach(shop, **changes)
    assert len(open_instance().get_runs()) == runs


def test_everything_of_a_plan_can_be_configured_in_dagster_with_the_same_defaults() -> None:
    config = TunedExtractorConfig(label="kind")
    assert config.plan() == Plan(base=DEFAULT_EXTRACTOR, label="kind")
    assert set(config.model_dump()) == {field.name for field in dataclasses.fields(Plan)} | {"split"}


def test_a_shop_without_an_index_is_told_what_to_do_first(shop: Shop) -> None:
    with pytest.raises(RunFailed, match=r"There is no index in .* yet; add a catalog first"):
        teach(shop, base="bundled:efficientnet-lite0")


def test_a_shop_that_serves_a_tuned_extractor_starts_from_what_that_was_taught_from(
    taught: Taught, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration.finetuning import _base_of

    monkeypatch.setenv("VETRINA_EXTRACTOR", taught[1]["handle"])
    assert _base_of(taught[0].deployment) == HANDLE == PLAN["base"]
