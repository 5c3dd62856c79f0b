"""Runs on Celery: a real Redis, two workers and the daemon, started by the very commands of docs/operations.md."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from support.fault_server import Fault, FaultServer
from support.manual import commands
from support.processes import REPOSITORY, free_port, path_with_tools, running, wait_until
from support.shops import Shop, opened_shop, rows_of

from assets.partitions import catalog_batch
from orchestration.definitions import build_defs

pytestmark = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not installed (Debian: apt install redis-server)"
)

_PASSWORD = "a-secret-of-the-broker"
_EXPORT = re.compile(r"export (\w+)=(\S+)")


@dataclass
class Deployed:
    """A shop whose runs go through Celery."""

    shop: Shop
    server: FaultServer
    launch: str
    logs: dict[str, Path]

    def run(self, job: str, partition: str | None = None) -> dg.DagsterRun:
        """Launch a job and wait for its end."""
        return self.wait(self.start(job, partition))

    def start(self, job: str, partition: str | None = None) -> str:
        """Launch a job as the document says; gives the run's id."""
        instance = dg.DagsterInstance.get()
        line = self.launch.replace("publish", job)
        mark = {"test": uuid.uuid4().hex}  # the daemon's sensors launch runs, too
        tags = json.dumps(mark if partition is None else {**mark, "dagster/partition": partition})
        done = subprocess.run(
            [*shlex.split(line), "--tags", tags], capture_output=True, text=True, timeout=600, cwd=REPOSITORY
        )
        assert done.returncode == 0, done.stderr
        (found,) = instance.get_runs(dg.RunsFilter(tags=mark))
        return found.run_id

    def wait(self, run_id: str) -> dg.DagsterRun:
        """Wait for the end of a run."""
        instance = dg.DagsterInstance.get()

        def ended() -> bool:
            run = instance.get_run_by_id(run_id)
            return run is not None and run.is_finished

        wait_until(ended, self.logs)
        run = instance.get_run_by_id(run_id)
        assert run is not None
        return run


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("celery")
    lines = commands("docs/operations.md", "Celery with Redis")
    port = str(free_port())
    settings = {name: value for name, value in (found.groups() for found in map(_EXPORT.match, lines) if found)}
    assert settings["VETRINA_EXECUTOR"] == "celery"
    # As in the document, but for the port and a password, which must not show anywhere.
    broker = settings["VETRINA_CELERY_BROKER"].replace("6379", port).replace("redis://", f"redis://:{_PASSWORD}@")
    services = [line.replace("6379", port) for line in lines if re.match("redis-server|dagster-celery|dagster-d", line)]
    assert len(services) == 4
    services[0] += f" --requirepass {_PASSWORD}"
    (launch,) = (line for line in lines if line.startswith("dagster job launch"))
    (once,) = (line for line in lines if line.startswith("dagster instance"))
    pictures = {f"/{name}.png": data for name, data in product_pictures.items()}
    with FaultServer(pictures) as server, opened_shop(folder) as shop, ExitStack() as stack:
        environment = pytest.MonkeyPatch()
        stack.callback(environment.undo)
        for name, value in {**settings, "VETRINA_CELERY_BROKER": broker, "PATH": path_with_tools()}.items():
            environment.setenv(name, value)
        environment.setenv("PYTHONPATH", str(REPOSITORY))
        subprocess.run(shlex.split(once), check=True, capture_output=True, cwd=REPOSITORY)
        logs = {}
        for number, line in enumerate(services):
            logs[line] = folder / f"service-{number}.log"
            stack.enter_context(running(shlex.split(line), logs[line]))
        yield Deployed(shop, server, launch, logs)


def _workers(run: dg.DagsterRun) -> dict[str, str]:
    """Step → the Celery worker that worked it."""
    found = {}
    for entry in dg.DagsterInstance.get().all_logs(run.run_id):
        event = entry.dagster_event
        if event is not None and event.is_engine_event:
            noted = {str(name): str(value.value) for name, value in event.engine_event_data.metadata.items()}
            if "Celery worker" in noted:
                found[noted["step_keys"]] = noted["Celery worker"].split("@")[0]
    return found


def test_a_batch_and_its_index_are_made_by_the_workers_of_the_two_queues(deployed: Deployed) -> None:
    shop = deployed.shop
    batch = shop.register(shop.catalog("spring", rows_of(deployed.server, ["oak-chair", "white-chair", "box"])))
    dg.DagsterInstance.get().add_dynamic_partitions(str(catalog_batch.name), [batch.key])

    worked = deployed.run("batch", batch.key)
    published = deployed.run("publish")

    assert worked.status == published.status == dg.DagsterRunStatus.SUCCESS
    assert _workers(worked) == {"catalog": "cpu", "raw_images": "cpu", "crops_and_labels": "gpu", "embeddings": "gpu"}
    assert _workers(published) == {"similarity_index": "gpu", "similar_products": "gpu"}
    assert set(shop.similar("box")) == {"oak-chair", "white-chair"}
    for run in (worked, published):
        told = [str(entry) for entry in dg.DagsterInstance.get().all_logs(run.run_id)]
        assert not [line for line in told if _PASSWORD in line]
    assert not [log for log in deployed.logs.values() if _PASSWORD in log.read_text()]


def test_a_step_whose_process_is_killed_fails_its_run_and_the_next_run_goes_on(deployed: Deployed) -> None:
    shop, server, instance = deployed.shop, deployed.server, dg.DagsterInstance.get()
    server.fail("/slippers.png", Fault(lambda handler: handler.hold(120)))
    batch = shop.register(shop.catalog("autumn", rows_of(server, ["bootie", "slippers"])))
    instance.add_dynamic_partitions(str(catalog_batch.name), [batch.key])
    run_id = deployed.start("batch", batch.key)

    def working() -> set[int]:
        events = (entry.dagster_event for entry in instance.all_logs(run_id))
        return {
            event.pid
            for event in events
            if event is not None and event.is_step_start and event.step_key == "raw_images"
        }

    wait_until(lambda: bool(working()), deployed.logs)
    (process,) = working()
    os.kill(process, signal.SIGKILL)
    assert deployed.wait(run_id).status == dg.DagsterRunStatus.FAILURE
    assert any("WorkerLostError" in str(entry) for entry in instance.all_logs(run_id))

    server.heal("/slippers.png")
    again = deployed.run("batch", batch.key)
    assert (again.status, _workers(again)["raw_images"]) == (dg.DagsterRunStatus.SUCCESS, "cpu")
    assert {outcome["state"] for outcome in shop.outcomes(batch).values()} == {"ok"}


def test_the_command_line_works_in_its_own_process_beside_it(deployed: Deployed) -> None:
    shop = deployed.shop
    report = shop.add(shop.catalog("summer", rows_of(deployed.server, ["umbrella"])))
    assert report["total"]["embedded"] >= 1
    run = dg.DagsterInstance.get().get_run_by_id(report["batches"][0]["run_id"])
    assert run is not None
    assert (run.status, _workers(run)) == (dg.DagsterRunStatus.SUCCESS, {})


def test_the_definitions_that_the_ui_shows_hold_no_password(deployed: Deployed) -> None:
    del deployed  # for its settings
    repository = build_defs().get_repository_def()
    shown = [repr(dg.serialize_value(repository.get_job(job).get_job_snapshot())) for job in ("batch", "publish")]
    assert all("dagster-celery/queue" in text and _PASSWORD not in text for text in shown)
