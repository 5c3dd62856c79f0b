"""The files of deploy/: read by Dagster, and in step with each other."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from support.processes import REPOSITORY

from orchestration.executors import celery_config
from vetrina.settings import Settings


def _yaml(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / name).read_text())
    return loaded


def test_dagster_reads_the_limits_and_the_retention_of_the_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").symlink_to(REPOSITORY / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    instance = dg.DagsterInstance.get()
    limits = instance.get_concurrency_config()
    assert limits.pool_config.default_pool_limit == 1
    assert limits.run_queue_config is not None
    assert limits.run_queue_config.max_concurrent_runs == 4
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds == Settings().max_run_seconds
    assert instance.get_settings("retention")["sensor"]["purge_after_days"]["skipped"] == 2


def test_the_postgres_instance_differs_in_its_storage_only() -> None:
    other = _yaml("deploy/dagster-postgres.yaml")
    storage = other.pop("storage")["postgres"]["postgres_db"]
    assert other == _yaml("dagster.yaml")
    assert storage["password"] == {"env": "DAGSTER_PG_PASSWORD"}
    # Plain "postgresql" asks for a driver that dagster-postgres does not bring.
    assert storage["scheme"] == "postgresql+psycopg2"


def test_the_celery_workers_are_set_up_as_the_runs_are() -> None:
    workers = _yaml("deploy/celery.yaml")["execution"]["config"]
    assert workers["broker"] == workers["backend"] == {"env": "VETRINA_CELERY_BROKER"}
    runs = celery_config(Settings())["config_source"]["broker_transport_options"]
    times = workers["config_source"]["broker_transport_options"]["visibility_timeout"], runs["visibility_timeout"]
    assert times[0] == times[1]


def test_the_cluster_has_the_limits_of_the_instance() -> None:
    cluster, single = _yaml("deploy/kubernetes/values.yaml"), _yaml("dagster.yaml")["concurrency"]
    pools, runs = cluster["concurrency"]["pools"], cluster["concurrency"]["runs"]
    assert pools["defaultLimit"] == single["pools"]["default_limit"]
    assert pools["granularity"] == single["pools"]["granularity"]
    assert runs["maxConcurrentRuns"] == single["runs"]["max_concurrent_runs"]
    (location,) = cluster["dagster-user-deployments"]["deployments"]
    assert location["env"]["VETRINA_EXECUTOR"] == "kubernetes"
    assert location["dagsterApiGrpcArgs"] == ["-m", "orchestration.definitions"]


def test_every_file_that_the_manual_names_is_there() -> None:
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    for name in ("celery.yaml", "dagster-postgres.yaml", "Dockerfile", "kubernetes/values.yaml", "vetrina.service"):
        assert f"deploy/{name}" in text
        assert (REPOSITORY / "deploy" / name).is_file()
