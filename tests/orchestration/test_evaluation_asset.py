"""The asset `evaluation`: what it says, what it keeps, and that nothing waits for it."""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from support.commands import values
from support.fault_server import FaultServer
from support.shops import Shop, opened_shop, rows_of

from orchestration.definitions import build_defs
from orchestration.jobs import PUBLISH_JOB

SEATS, REST = ["oak-chair", "white-chair", "slippers", "bootie"], ["coffee-cup", "beer-glass", "yogurt-bottle", "box"]


@pytest.fixture(scope="module")
def labelled(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Shop]:
    pictures = {f"/{name}.png": data for name, data in product_pictures.items()}
    with FaultServer(pictures) as server, opened_shop(tmp_path_factory.mktemp("evaluated")) as shop:
        rows = [*rows_of(server, SEATS, category="a | b"), *rows_of(server, REST, category="Kitchen")]
        shop.add(shop.catalog("all", rows))
        yield shop


def materialized(config: dict[str, Any], **settings: Any) -> dg.ExecuteInProcessResult:
    job = build_defs(**settings).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("evaluation")],
            run_config={"ops": {"evaluation": {"config": config}}},
            raise_on_error=False,
        )


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


@pytest.fixture(scope="module")
def said(labelled: Shop) -> dict[str, Any]:
    return metadata_of(materialized({"k": 3}, evaluation_label="category"))


def test_its_figures_are_those_of_the_command_line(labelled: Shop, said: dict[str, Any]) -> None:
    found = values("evaluate", "--label", "category", "-k", 3, "--sweep")
    for name in ("map@3", "precision@5", "accuracy@4", "recall@3"):
        assert said[name] == found[name]["value"]
    assert f"{found['map@3']['low']:.3f} to {found['map@3']['high']:.3f}" in said["measures"]
    assert said["index_version"] == found["index"]["version"]
    assert [space["dims"] for space in found["sweep"]["spaces"]] == [1280]


def test_the_report_and_its_figures_are_kept_beside_the_index_version(labelled: Shop, said: dict[str, Any]) -> None:
    store = labelled.deployment.store
    assert re.fullmatch(r"reports/[0-9a-f]{16}/evaluation-[0-9a-f]{16}\.html", said["report"])
    assert said["report"].split("/")[1] == labelled.deployment.window().index.version
    page = store.read(said["report"]).decode()
    assert "Evaluation by category" in page
    assert "data:image/jpeg;base64," in page
    assert json.loads(store.read(said["values"]))["map@3"]["value"] == said["map@3"]


def test_charts_are_previews_and_class_names_break_no_table(said: dict[str, Any]) -> None:
    for name in ("classes_chart", "dimensions_chart"):
        png = base64.b64decode(said[name].partition("base64,")[2].removesuffix(")"))
        assert png.startswith(b"\x89PNG")
        assert len(png) < 100_000
    assert "a \\| b" in said["classes"]


def test_without_a_label_it_takes_what_the_detector_saw_and_without_a_sweep_none_is_drawn(labelled: Shop) -> None:
    found = materialized({"k": 1, "sweep": False})
    assert found.success
    said = metadata_of(found)
    assert said["label"] == "detected"
    assert "dimensions_chart" not in said


def test_a_wrong_label_is_one_clear_failure(labelled: Shop) -> None:
    found = materialized({"label": "catagory"})
    assert not found.success
    (failure,) = [event for event in found.all_events if event.is_step_failure]
    assert "did you mean 'category'" in str(failure.event_specific_data)


def test_publishing_does_not_wait_for_it_and_nothing_starts_it() -> None:
    defs = build_defs()
    assert dg.AssetKey("evaluation") not in defs.resolve_job_def(PUBLISH_JOB).asset_layer.selected_asset_keys
    assert defs.resolve_asset_graph().get(dg.AssetKey("evaluation")).automation_condition is None


def test_the_label_is_part_of_what_it_is_made_by() -> None:
    versions = [
        build_defs(evaluation_label=label).resolve_asset_graph().get(dg.AssetKey("evaluation")).code_version
        for label in ("category", "brand")
    ]
    assert versions[0] != versions[1]
