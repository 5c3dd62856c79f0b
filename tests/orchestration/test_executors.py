"""Executors by setting, and what the steps ask of each."""

import logging
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest
from dagster._daemon.monitoring.run_monitoring import check_run_timeout
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job, get_user_defined_k8s_config

from orchestration.definitions import build_defs
from orchestration.executors import celery_config
from orchestration.intake_jobs import LARGE_FILE_JOB, SYNC_JOB
from orchestration.jobs import BATCH_JOB, FINETUNE_JOB, PUBLISH_JOB
from orchestration.trial_job import TRIAL_JOB
from vetrina.errors import SettingError
from vetrina.settings import Settings

GPU = {"crops_and_labels", "embeddings", "similarity_index", "similar_products"}
CPU = {"catalog", "raw_images"}


def _steps() -> dict[str, Mapping[str, str]]:
    """Step → its tags, over both jobs."""
    jobs = [build_defs().resolve_job_def(name) for name in (BATCH_JOB, PUBLISH_JOB)]
    return {node.name: node.tags for job in jobs for node in job.nodes}


@pytest.mark.parametrize(
    ("setting", "name"),
    [("in_process", "in_process"), ("multiprocess", "multiprocess"), ("celery", "celery"), ("kubernetes", "k8s")],
)
def test_the_setting_names_the_executor_of_every_job(setting: str, name: str) -> None:
    definitions = build_defs(executor=setting)
    for job in (BATCH_JOB, PUBLISH_JOB):
        assert definitions.resolve_job_def(job).executor_def.name == name


@pytest.mark.parametrize(("setting", "module"), [("celery", "dagster_celery"), ("kubernetes", "dagster_k8s")])
def test_an_extra_that_is_not_installed_is_named_with_its_remedy(
    setting: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingError, match=rf"pip install 'vetrina\[{setting}\]'"):
        build_defs(executor=setting)


def test_one_machine_imports_neither_celery_nor_kubernetes() -> None:
    code = "import sys, orchestration.definitions; print({'celery', 'dagster_celery', 'kubernetes'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_step_has_its_celery_queue() -> None:
    queues = {step: tags["dagster-celery/queue"] for step, tags in _steps().items()}
    assert queues == dict.fromkeys(GPU, "gpu") | dict.fromkeys(CPU, "cpu")


def test_the_steps_of_the_gpu_queue_are_those_of_the_pool() -> None:
    definitions = build_defs()
    nodes = [node for name in (BATCH_JOB, PUBLISH_JOB) for node in definitions.resolve_job_def(name).nodes]
    assert {node.name for node in nodes if isinstance(node.definition, dg.OpDefinition) and node.definition.pool} == GPU


def _manifest(tags: Mapping[str, str]) -> dict[str, Any]:
    """The Kubernetes Job that Dagster would submit for a step with these tags."""
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(job_image="vetrina:1", dagster_home="/opt/dagster/home"),
        args=["dagster", "api", "execute_step"],
        job_name="step",
        user_defined_k8s_config=get_user_defined_k8s_config(tags),
    )
    manifest: dict[str, Any] = job.to_dict()
    return manifest


@pytest.mark.parametrize("step", sorted(GPU))
def test_on_kubernetes_a_gpu_step_asks_for_one_gpu(step: str) -> None:
    pod = _manifest(_steps()[step])["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"


@pytest.mark.parametrize("step", sorted(CPU))
def test_on_kubernetes_other_steps_ask_for_none(step: str) -> None:
    pod = _manifest(_steps()[step])["spec"]["template"]["spec"]
    assert "nvidia.com/gpu" not in str(pod)


def test_results_go_to_the_broker_unless_a_backend_is_set() -> None:
    assert celery_config(Settings(celery_broker="redis://a/0"))["backend"] == "redis://a/0"
    assert celery_config(Settings(celery_broker="amqp://a//", celery_backend="redis://b/1"))["backend"] == "redis://b/1"


@pytest.mark.parametrize("field", ["celery_broker", "celery_backend"])
def test_a_broker_that_is_no_url_is_refused_without_repeating_it(field: str) -> None:
    with pytest.raises(SettingError, match=f"VETRINA_{field.upper()} is not a URL") as refused:
        build_defs(executor="celery", **{field: ":a-secret@127.0.0.1"})
    assert "a-secret" not in str(refused.value)


JOBS = (BATCH_JOB, PUBLISH_JOB, FINETUNE_JOB, TRIAL_JOB, LARGE_FILE_JOB, SYNC_JOB)


@pytest.mark.parametrize("seconds", [600, 0])
def test_the_runs_of_every_job_carry_how_long_they_may_take(seconds: int) -> None:
    definitions = build_defs(max_run_seconds=seconds)
    carried = {name: definitions.resolve_job_def(name).run_tags.get("dagster/max_runtime") for name in JOBS}
    assert carried == dict.fromkeys(JOBS, str(seconds))


@pytest.mark.parametrize(("seconds", "left"), [(0, dg.DagsterRunStatus.STARTED), (600, dg.DagsterRunStatus.FAILURE)])
def test_dagster_ends_a_run_of_two_days_unless_the_setting_is_none(seconds: int, left: dg.DagsterRunStatus) -> None:
    job = build_defs(max_run_seconds=seconds).resolve_job_def(BATCH_JOB)
    by_default = 86_400.0  # `max_runtime_seconds` in dagster.yaml
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(job, tags=dict(job.run_tags), status=dg.DagsterRunStatus.STARTED)
        (record,) = instance.get_run_records()
        record = record._replace(start_time=time.time() - 2 * 86_400)
        check_run_timeout(instance, record, logging.getLogger(__name__), by_default)
        (found,) = instance.get_runs()
        assert (found.run_id, found.status) == (run.run_id, left)
