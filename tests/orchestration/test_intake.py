"""Sensors, schedule and jobs of intake: what a tick says and asks for, and that files become runs by themselves."""

import dataclasses
import gzip
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from support.fault_server import FaultServer, status
from support.shops import Shop, rows_of

from assets.partitions import catalog_batch
from orchestration.answers import shop_status
from orchestration.definitions import BATCH_JOB, build_defs
from orchestration.failed_batches import MOST_TRIES
from orchestration.home import make_home
from orchestration.intake_jobs import LARGE_FILE_JOB, SYNC_JOB
from resources.configured import sync_order_of
from vetrina.catalog.batches import Batch, list_batches
from vetrina.catalog.problems import set_aside
from vetrina.catalog.syncing import sync_catalog
from vetrina.errors import SettingError

ROWS = "id,image_url\n1,https://pics.example/1.jpg\n"


class Ticker:
    """Evaluates sensors as the daemon does: cursor kept, partitions added, each run key launched once."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursors: dict[str, str | None] = {}
        self.run_keys: list[str] = []

    def tick(self, name: str) -> tuple[list[dg.RunRequest], str]:
        """The new run requests of one tick, and what it said."""
        defs = build_defs()
        with dg.build_sensor_context(
            self.instance,
            self.cursors.get(name),
            definitions=defs,
            resources={"store": (defs.resources or {})["store"]},
            instance_ref=self.instance.get_ref(),
        ) as context:
            result = defs.resolve_sensor_def(name).evaluate_tick(context)
        for request in result.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        new = [request for request in result.run_requests or () if request.run_key not in self.run_keys]
        self.run_keys += [str(request.run_key) for request in new]
        self.cursors[name] = result.cursor
        return new, result.skip_message or ""

    def run(self, request: dg.RunRequest, job: str) -> dg.ExecuteInProcessResult:
        """Work a request in this process."""
        return (
            build_defs()
            .resolve_job_def(job)
            .execute_in_process(
                instance=self.instance,
                partition_key=request.partition_key,
                run_config=request.run_config or None,
                tags=request.tags,
                raise_on_error=False,
            )
        )

    @property
    def partitions(self) -> list[str]:
        return list(self.instance.get_dynamic_partitions(str(catalog_batch.name)))


@pytest.fixture
def ticker(shop: Shop) -> Iterator[Ticker]:
    with dg.DagsterInstance.get() as instance:
        yield Ticker(instance)


@pytest.fixture
def folder(shop: Shop) -> Path:
    """The watched folder of a shop in which files count as whole at once."""
    folder = shop.folder / "in"
    folder.mkdir()
    shop.set(WATCH=folder, WATCH_SETTLE=0)
    return folder


def _why(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.filter_events(lambda event: event.is_step_failure or event.is_step_up_for_retry)
    error = event.event_specific_data.error
    return str((error.cause or error).message)


def _start(ticker: Ticker, request: dg.RunRequest, job: str) -> dg.DagsterRun:
    """The run that the daemon would start for a request, not worked."""
    told = {"dagster/partition": request.partition_key, "dagster/run_key": request.run_key}
    return ticker.instance.create_run_for_job(
        build_defs().resolve_job_def(job),
        run_config=request.run_config or None,
        tags={**request.tags, **{tag: value for tag, value in told.items() if value is not None}},
        status=dg.DagsterRunStatus.STARTED,
    )


def _fail(ticker: Ticker, request: dg.RunRequest, job: str = BATCH_JOB) -> None:
    ticker.instance.report_run_failed(_start(ticker, request, job))


@pytest.fixture
def hours_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on it is two hours later for the sensors, longer than any pause."""

    def later() -> None:
        ahead = time.time() + 2 * 3600
        monkeypatch.setattr("orchestration.sensors.time", SimpleNamespace(time=lambda: ahead))

    return later


def test_without_a_folder_the_sensor_says_how_to_switch_it_on(shop: Shop, ticker: Ticker) -> None:
    requests, said = ticker.tick("watched_folder")
    assert requests == []
    assert "set VETRINA_WATCH" in said


def test_two_files_become_two_partitions_two_runs_and_searchable_products(
    shop: Shop, server: FaultServer, folder: Path, ticker: Ticker
) -> None:
    for name, pictures in {"spring": ["oak-chair", "box"], "summer": ["bootie", "umbrella"]}.items():
        Path(shop.catalog(f"in/{name}", rows_of(server, pictures)))
    _, said = ticker.tick("watched_folder")
    keys = [batch.key for batch in list_batches(shop.deployment.store)]
    assert len(keys) == 2
    assert all(key in said for key in keys)

    requests, _ = ticker.tick("registered_batches")
    assert [request.partition_key for request in requests] == [request.run_key for request in requests] == keys
    assert ticker.partitions == keys
    for request in requests:
        assert ticker.run(request, BATCH_JOB).success
    shop.publish()
    assert set(shop.similar("box")) == {"oak-chair", "bootie", "umbrella"}

    for name in ("watched_folder", "registered_batches"):
        assert ticker.tick(name)[0] == []
    assert len(list_batches(shop.deployment.store)) == 2


def test_a_daemon_that_starts_anew_between_any_two_steps_loses_and_doubles_no_run(
    shop: Shop, folder: Path, ticker: Ticker
) -> None:
    (folder / "spring.csv").write_text(ROWS)
    ticker.tick("watched_folder")
    ticker.cursors.clear()  # registered, not launched
    ((first,), _) = ticker.tick("registered_batches")
    ticker.cursors.clear()  # launched, the tick's end not recorded
    assert ticker.tick("registered_batches")[0] == []
    (folder / "spring.csv").write_text(ROWS.replace("1.jpg", "2.jpg"))
    ticker.cursors.clear()
    ticker.tick("watched_folder")
    ((second,), _) = ticker.tick("registered_batches")
    assert first.partition_key != second.partition_key
    assert len(ticker.partitions) == 2


def test_a_new_dagster_home_learns_the_partitions_and_runs_nothing_again(
    shop: Shop, server: FaultServer, folder: Path, ticker: Ticker
) -> None:
    shop.catalog("in/spring", rows_of(server, ["box"]))
    ticker.tick("watched_folder")
    ((request,), _) = ticker.tick("registered_batches")
    assert ticker.run(request, BATCH_JOB).success
    make_home(shop.folder / "other-home")
    with dg.DagsterInstance.from_config(str(shop.folder / "other-home")) as instance:
        other = Ticker(instance)
        requests, said = other.tick("registered_batches")
        assert (requests, other.partitions) == ([], [request.partition_key])
    assert "worked already" in said


def test_what_a_command_added_is_not_run_again_by_the_sensor(
    shop: Shop, server: FaultServer, folder: Path, ticker: Ticker
) -> None:
    catalog = shop.catalog("spring", rows_of(server, ["box", "bootie"]))
    batch = shop.register(catalog)  # the command has not come to its run yet
    requests, said = ticker.tick("registered_batches")
    assert requests == []
    assert "by a command" in said
    assert ticker.partitions == [batch.key]


def test_what_a_killed_command_left_behind_is_run_once_it_comes_by_the_folder(
    shop: Shop, server: FaultServer, folder: Path, ticker: Ticker
) -> None:
    content = Path(shop.catalog("spring", rows_of(server, ["box"]))).read_bytes()
    batch = shop.register(str(shop.folder / "spring.csv"))
    assert ticker.tick("registered_batches")[0] == []
    (folder / "spring.csv").write_bytes(content)
    ticker.tick("watched_folder")
    ((request,), _) = ticker.tick("registered_batches")
    assert request.partition_key == batch.key
    assert ticker.run(request, BATCH_JOB).success
    assert ticker.tick("registered_batches")[0] == []
    assert shop.deployment.store.names("intake/taken_over") == []
    assert len(list_batches(shop.deployment.store)) == 1


def test_many_batches_are_launched_over_several_ticks_the_earliest_first(
    shop: Shop, folder: Path, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.sensors._RUNS_OF_ONE_TICK", 3)
    for number in range(7):
        (folder / f"{number}.csv").write_text(ROWS + f"{number},https://pics.example/x.jpg\n")
    ticker.tick("watched_folder")
    counts = [len(ticker.tick("registered_batches")[0]) for _ in range(4)]
    assert counts == [3, 3, 1, 0]
    assert ticker.run_keys == [batch.key for batch in list_batches(shop.deployment.store)]


def test_a_bad_file_is_said_in_the_tick_and_in_the_status_and_blocks_no_other(
    shop: Shop, folder: Path, ticker: Ticker
) -> None:
    (folder / "bad.csv").write_text("colour,image_url\nred,a.png\n")
    (folder / "cut.csv.gz").write_bytes(gzip.compress(b"id,image_url\n" + bytes(range(256)) * 9)[:-9])
    (folder / "good.csv").write_text(ROWS)
    _, said = ticker.tick("watched_folder")
    assert "bad.csv: has no id column" in said
    assert "cut.csv.gz" in said
    assert len(ticker.tick("registered_batches")[0]) == 1
    _, later = ticker.tick("watched_folder")
    assert "2 set aside in all; `vetrina status` lists them" in later
    found = shop_status(shop.deployment, 0)["set_aside"]
    assert {Path(problem["source"]).name for problem in found} == {"bad.csv", "cut.csv.gz"}
    assert all(problem["since"] and problem["reason"] for problem in found)


def test_a_folder_that_cannot_be_read_is_one_line_in_the_tick_and_other_intake_goes_on(
    shop: Shop, folder: Path, ticker: Ticker
) -> None:
    (folder / "spring.csv").write_text(ROWS)
    ticker.tick("watched_folder")
    shop.set(WATCH=shop.folder / "gone")
    requests, said = ticker.tick("watched_folder")
    assert requests == []
    assert "make it, or correct VETRINA_WATCH" in said
    assert "\n" not in said
    assert len(ticker.tick("registered_batches")[0]) == 1


def test_a_watched_folder_whose_name_is_no_text_is_said_in_each_tick_and_stops_none(
    shop: Shop, folder: Path, ticker: Ticker
) -> None:
    damaged = folder / os.fsdecode(b"caf\xe9")
    damaged.mkdir()
    (damaged / "spring.csv").write_text(ROWS)
    shop.set(WATCH=damaged)
    _, said = ticker.tick("watched_folder")
    assert "has a name that is no UTF-8; rename the folder, or move the catalog" in said
    said.encode()  # Dagster keeps it in a database
    assert "1 set aside in all" in ticker.tick("watched_folder")[1]
    (damaged / "spring.csv").unlink()
    damaged.rmdir()
    _, said = ticker.tick("watched_folder")
    assert "make it, or correct VETRINA_WATCH" in said
    said.encode()


def test_a_large_file_is_registered_by_a_run_of_its_own(
    shop: Shop, folder: Path, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.sensors._LARGE_BYTES", 10)
    (folder / "spring.csv").write_text(ROWS)
    ((request,), _) = ticker.tick("watched_folder")
    assert ticker.tick("watched_folder")[0] == []  # the same run key
    assert ticker.run(request, LARGE_FILE_JOB).success
    assert len(ticker.tick("registered_batches")[0]) == 1
    assert "nothing new" in ticker.tick("watched_folder")[1]

    (folder / "spring.csv").write_text("colour,image_url\nred,a.png\n")
    ((request,), _) = ticker.tick("watched_folder")
    result = ticker.run(request, LARGE_FILE_JOB)
    assert not result.success
    assert "has no id column" in _why(result)


def test_a_large_file_whose_job_failed_is_tried_again_later_and_the_status_says_so(
    shop: Shop, folder: Path, ticker: Ticker, hours_later: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.sensors._LARGE_BYTES", 10)
    (folder / "spring.csv").write_text(ROWS)
    ((request,), _) = ticker.tick("watched_folder")
    _fail(ticker, request, LARGE_FILE_JOB)

    requests, said = ticker.tick("watched_folder")
    assert requests == []  # not at once
    assert "1 large, whose run is under way or comes later" in said
    (problem,) = shop_status(shop.deployment, 0)["set_aside"]
    assert Path(problem["source"]).name == "spring.csv"
    assert "the run that was to register it failed" in problem["reason"]
    assert ticker.instance.get_runs()[0].run_id in problem["reason"]

    hours_later()
    ((request,), _) = ticker.tick("watched_folder")
    _fail(ticker, request, LARGE_FILE_JOB)
    ((request,), _) = ticker.tick("watched_folder")
    assert ticker.run(request, LARGE_FILE_JOB).success
    assert ticker.tick("watched_folder")[0] == []
    assert len(ticker.tick("registered_batches")[0]) == 1
    assert shop_status(shop.deployment, 0)["set_aside"] == []


def test_while_a_large_file_is_being_taken_it_is_not_asked_for_and_what_is_wrong_with_it_stays_said(
    shop: Shop, folder: Path, ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.sensors._LARGE_BYTES", 10)
    (folder / "spring.csv").write_text(ROWS)
    ((request,), _) = ticker.tick("watched_folder")
    set_aside(shop.deployment.store, str(folder / "spring.csv"), "watch", "the server says nothing")
    run = _start(ticker, request, LARGE_FILE_JOB)
    ticker.run_keys.clear()
    assert ticker.tick("watched_folder")[0] == []
    ticker.instance.report_run_failed(run)
    assert ticker.tick("watched_folder")[0] == []
    (problem,) = shop_status(shop.deployment, 0)["set_aside"]
    assert problem["reason"] == "the server says nothing"


# ---- The scheduled sync


def _scheduled(instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    defs = build_defs()
    at = datetime(2026, 1, 1, 3, tzinfo=UTC)
    with dg.build_schedule_context(instance, scheduled_execution_time=at) as context:
        result = defs.resolve_schedule_def("catalog_sync").evaluate_tick(context)
    return result.run_requests[0] if result.run_requests else dg.SkipReason(result.skip_message)


def test_without_a_source_the_schedule_skips_and_says_how_to_switch_it_on(ticker: Ticker) -> None:
    said = _scheduled(ticker.instance)
    assert isinstance(said, dg.SkipReason)
    assert "set VETRINA_SYNC_SOURCE" in str(said.skip_message)


@pytest.mark.parametrize("setting", [{"sync_cron": "every night"}, {"sync_time_zone": "Mars/Olympus"}])
def test_a_cron_line_or_zone_that_cannot_be_used_is_refused_by_name(setting: dict[str, str]) -> None:
    with pytest.raises(SettingError, match=r"VETRINA_SYNC_CRON.*VETRINA_SYNC_TIME_ZONE"):
        build_defs(**setting)


def test_a_nightly_sync_works_what_changed_and_refuses_to_empty_the_shop(
    shop: Shop, server: FaultServer, ticker: Ticker
) -> None:
    names = ["oak-chair", "box", "bootie", "umbrella", "slippers"]
    export = _export(shop, server, names)
    shop.set(SYNC_SOURCE=server.url("/shop.csv"))
    request = _scheduled(ticker.instance)
    assert isinstance(request, dg.RunRequest)

    assert ticker.run(request, SYNC_JOB).success
    ((batch_run,), _) = ticker.tick("registered_batches")
    assert ticker.run(batch_run, BATCH_JOB).success
    shop.publish()
    assert set(shop.similar("box")) == set(names) - {"box"}

    assert ticker.run(request, SYNC_JOB).success  # unchanged: no batch, no partition
    assert ticker.tick("registered_batches")[0] == []
    assert len(ticker.partitions) == 1

    assert server.pictures is not None
    server.pictures["/shop.csv"] = export.splitlines(keepends=True)[0] + export.splitlines(keepends=True)[1]
    refused = ticker.run(request, SYNC_JOB)
    assert not refused.success
    assert "would remove 4 of the 5 products" in _why(refused)
    assert "confirm" in _why(refused)
    assert ticker.tick("registered_batches")[0] == []
    (problem,) = shop_status(shop.deployment, 0)["set_aside"]
    assert "would remove 4 of the 5" in problem["reason"]

    confirmed = dg.RunRequest(run_config={"ops": {"sync_catalog": {"config": {"confirm_removals": True}}}})
    assert ticker.run(confirmed, SYNC_JOB).success
    ((batch_run,), _) = ticker.tick("registered_batches")
    assert ticker.run(batch_run, BATCH_JOB).success
    shop.publish()
    assert shop.similar("oak-chair") == []
    assert shop_status(shop.deployment, 0)["set_aside"] == []


def _killed_sync(shop: Shop, server: FaultServer) -> Batch:
    """The batch of a `vetrina sync` that came no further than to register it."""
    _export(shop, server, ["oak-chair", "box"])
    shop.set(SYNC_SOURCE=server.url("/shop.csv"))
    order = dataclasses.replace(sync_order_of(shop.deployment.settings), origin="command")
    batch = sync_catalog(shop.deployment.store, order).batch
    assert batch is not None
    return batch


def test_a_sync_that_was_killed_is_run_again_and_works_what_it_left(shop: Shop, server: FaultServer) -> None:
    batch = _killed_sync(shop, server)
    report = shop.sync(server.url("/shop.csv"))
    assert "has not changed since" in report["sync"]["skipped"]
    ((key, new),) = [(entry["batch"], entry["new"]) for entry in report["batches"]]
    assert (key, new) == (batch.key, False)
    assert shop.similar("box") == ["oak-chair"]
    assert shop.sync(server.url("/shop.csv"))["batches"] == []


def test_the_nightly_sync_has_the_sensor_run_what_a_killed_sync_left(
    shop: Shop, server: FaultServer, ticker: Ticker
) -> None:
    batch = _killed_sync(shop, server)
    assert ticker.tick("registered_batches")[0] == []
    assert ticker.run(dg.RunRequest(), SYNC_JOB).success
    ((request,), _) = ticker.tick("registered_batches")
    assert request.partition_key == batch.key
    assert ticker.run(request, BATCH_JOB).success
    assert ticker.run(dg.RunRequest(), SYNC_JOB).success
    assert ticker.tick("registered_batches")[0] == []


@pytest.mark.parametrize(("code", "again"), [(503, True), (404, False)])
def test_a_source_in_trouble_is_tried_again_later_and_a_missing_one_is_not(
    shop: Shop, server: FaultServer, ticker: Ticker, monkeypatch: pytest.MonkeyPatch, code: int, again: bool
) -> None:
    monkeypatch.setattr("vetrina.web_files.time.sleep", lambda _: None)
    monkeypatch.setattr("orchestration.intake_jobs._AGAIN", dg.RetryPolicy(max_retries=1))
    _export(shop, server, ["box"])
    shop.set(SYNC_SOURCE=server.url("/shop.csv"))
    server.fail("/shop.csv", status(code, times=2))  # as often as one try of the job asks
    result = ticker.run(dg.RunRequest(), SYNC_JOB)
    assert result.success == again
    assert f"answered {code}" in _why(result)
    assert len(list_batches(shop.deployment.store)) == again


def test_intake_runs_by_itself_in_a_new_installation() -> None:
    repository = build_defs().get_repository_def()
    running = {
        definition.name
        for definition in (*repository.sensor_defs, *repository.schedule_defs)
        if definition.default_status.value == "RUNNING"
    }
    assert {"watched_folder", "registered_batches", "catalog_sync"} <= running


def _export(shop: Shop, server: FaultServer, names: list[str]) -> bytes:
    export = Path(shop.catalog("export", rows_of(server, names))).read_bytes()
    assert server.pictures is not None
    server.pictures["/shop.csv"] = export
    return export


def test_a_batch_whose_run_failed_gets_another_one_later_and_not_for_ever(
    shop: Shop, server: FaultServer, folder: Path, ticker: Ticker, hours_later: Callable[[], None]
) -> None:
    shop.catalog("in/spring", rows_of(server, ["oak-chair"]))
    ticker.tick("watched_folder")
    (batch,) = list_batches(shop.deployment.store)
    ((request,), _) = ticker.tick("registered_batches")
    assert request.run_key == batch.key

    _fail(ticker, request)
    assert ticker.tick("registered_batches")[0] == []  # not at once
    hours_later()
    for _ in range(MOST_TRIES - 1):
        ((request,), _) = ticker.tick("registered_batches")
        assert request.partition_key == batch.key
        _fail(ticker, request)
    assert ticker.tick("registered_batches")[0] == []


def test_many_batches_that_fail_again_and_again_all_get_their_tries(
    shop: Shop, folder: Path, ticker: Ticker, hours_later: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.failed_batches._MOST_RUNS", 5)  # fewer than the failures there will be
    for number in range(3):
        (folder / f"{number}.csv").write_text(ROWS + f"{number},https://pics.example/x.jpg\n")
    ticker.tick("watched_folder")
    tries: Counter[str | None] = Counter()
    hours_later()
    for _ in range(MOST_TRIES + 2):
        for request in ticker.tick("registered_batches")[0]:
            _fail(ticker, request)
            tries[request.partition_key] += 1
    assert tries == {batch.key: MOST_TRIES for batch in list_batches(shop.deployment.store)}


def test_a_batch_whose_retries_a_former_version_let_stall_is_tried_again(
    shop: Shop, folder: Path, ticker: Ticker, hours_later: Callable[[], None]
) -> None:
    (folder / "spring.csv").write_text(ROWS)
    ticker.tick("watched_folder")
    ((first,), _) = ticker.tick("registered_batches")
    _fail(ticker, first)
    _fail(ticker, dg.RunRequest(partition_key=first.partition_key, run_key=f"{first.run_key}:1"))
    ticker.run_keys.append(f"{first.run_key}:2")  # asked for already, as Dagster knows
    hours_later()
    ((again,), _) = ticker.tick("registered_batches")
    assert str(again.run_key).startswith(f"{first.run_key}:2:")


def test_what_the_folder_took_over_from_a_command_is_tried_again_as_well_and_never_twice_at_once(
    shop: Shop, server: FaultServer, folder: Path, ticker: Ticker, hours_later: Callable[[], None]
) -> None:
    content = Path(shop.catalog("spring", rows_of(server, ["box"]))).read_bytes()
    batch = shop.register(str(shop.folder / "spring.csv"))
    _fail(ticker, dg.RunRequest(partition_key=batch.key))  # the command's own run
    (folder / "spring.csv").write_bytes(content)
    ticker.tick("watched_folder")
    hours_later()
    for _ in range(MOST_TRIES):
        ((request,), _) = ticker.tick("registered_batches")
        assert request.partition_key == batch.key
        _fail(ticker, request)
    assert ticker.tick("registered_batches")[0] == []


def test_a_batch_that_was_worked_after_its_failure_is_left_alone(
    shop: Shop, server: FaultServer, folder: Path, ticker: Ticker, hours_later: Callable[[], None]
) -> None:
    shop.catalog("in/spring", rows_of(server, ["oak-chair"]))
    ticker.tick("watched_folder")
    (batch,) = list_batches(shop.deployment.store)
    ((request,), _) = ticker.tick("registered_batches")
    _fail(ticker, request)
    shop.work(batch)
    hours_later()
    assert ticker.tick("registered_batches")[0] == []
