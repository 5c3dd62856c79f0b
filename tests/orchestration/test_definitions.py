"""What Dagster loads, and what must not be loaded with it."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from orchestration.definitions import build_defs
from vetrina.errors import ModelError, SettingError


def _loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh Python has after running some code."""
    code += "\nimport sys; print('MODULES', *sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rsplit("MODULES", 1)[1].split())


def test_the_definitions_can_be_loaded() -> None:
    dg.Definitions.validate_loadable(build_defs())


def test_loading_the_definitions_does_not_import_tensorflow() -> None:
    loaded = _loaded_by("import orchestration.definitions")
    assert "dagster" in loaded
    assert not {"tensorflow", "keras", "ai_edge_litert", "matplotlib", "sklearn", "scipy"} & loaded


def test_the_definitions_load_without_a_warning_before_the_models_are_fetched(tmp_path: Path) -> None:
    code = (
        "import dagster as dg\nfrom orchestration.definitions import defs\n"
        "dg.Definitions.validate_loadable(defs)\nprint(len(defs.resolve_all_job_defs()))"
    )
    environment = {**os.environ, "VETRINA_MODELS": str(tmp_path / "nothing-here")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "nothing-here").exists()


def test_a_model_or_class_that_is_not_known_is_refused_by_name_when_definitions_load() -> None:
    with pytest.raises(ModelError, match=r"bundled:openimages-sd.*did you mean 'bundled:openimages-ssd'"):
        build_defs(detector="bundled:openimages-sd")
    with pytest.raises(SettingError, match=r"Cofee cup.*Coffee cup"):
        build_defs(classes="Cofee cup")


def test_the_sensors_run_unless_they_are_switched_off() -> None:
    sensors = {sensor.name: sensor for sensor in build_defs().sensors or []}
    for name in ("rebuild", "model_change"):
        assert sensors[name].default_status == dg.DefaultSensorStatus.RUNNING


def test_the_help_imports_neither_models_nor_dagster_nor_a_server() -> None:
    loaded = _loaded_by(
        "import sys\nfrom orchestration import cli\nsys.argv = ['vetrina', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code"
    )
    assert "typer" in loaded
    assert not {"tensorflow", "keras", "ai_edge_litert", "dagster", "fastapi", "uvicorn", "jinja2"} & loaded


def test_everything_of_a_batch_is_partitioned_and_the_index_is_not() -> None:
    graph = build_defs().resolve_asset_graph()
    partitioned = {key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).is_partitioned}
    assert partitioned == {"catalog", "raw_images", "crops", "label_table", "embeddings"}
    every = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert every - partitioned == {
        "similarity_index",
        "similar_products",
        "evaluation",
        "training_set",
        "tuned_extractor",
    }


def test_nothing_trains_by_itself() -> None:
    defs = build_defs()
    for name in ("training_set", "tuned_extractor"):
        assert defs.resolve_asset_graph().get(dg.AssetKey(name)).automation_condition is None
    started = {target.job_name for sensor in defs.sensors or [] for target in sensor.targets if target.job_name}
    started |= {schedule.job_name for schedule in defs.schedules or []}
    assert "finetune" not in started and "finetune" in {job.name for job in defs.resolve_all_job_defs()}


def test_a_setting_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(SettingError, match="VETRINA_EXECUTOR is 'threads'"):
        build_defs(executor="threads")


def test_a_command_can_be_imported_before_its_models_are_ready() -> None:
    code = (
        "import sys\n"
        "import orchestration.comparison, orchestration.finetuning, orchestration.intake, orchestration.switching\n"
        "print('orchestration.definitions' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
