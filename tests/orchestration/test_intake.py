"""The watched folder by its sensors: what a tick says and asks for, and that files become runs by themselves."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from support.fault_server import FaultServer
from support.sensors import ROWS, Ticker, fail, started, why
from support.shops import Shop, rows_of

from orchestration.answers import shop_status
from orchestration.definitions import BATCH_JOB, build_defs
from orchestration.home import make_home
from orchestration.intake_jobs import LARGE_FILE_JOB
from vetrina.catalog.batches import list_batches
from vetrina.catalog.problems import set_aside


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
    assert "has no id column" in why(result)


def test_a_large_file_whose_job_failed_is_tried_again_later_and_the_status_says_so(
    shop: Shop, folder: Path, ticker: Ticker, hours_later: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.sensors._LARGE_BYTES", 10)
    (folder / "spring.csv").write_text(ROWS)
    ((request,), _) = ticker.tick("watched_folder")
    fail(ticker, request, LARGE_FILE_JOB)

    requests, said = ticker.tick("watched_folder")
    assert requests == []  # not at once
    assert "1 large, whose run is under way or comes later" in said
    (problem,) = shop_status(shop.deployment, 0)["set_aside"]
    assert Path(problem["source"]).name == "spring.csv"
    assert "the run that was to register it failed" in problem["reason"]
    assert ticker.instance.get_runs()[0].run_id in problem["reason"]

    hours_later()
    ((request,), _) = ticker.tick("watched_folder")
    fail(ticker, request, LARGE_FILE_JOB)
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
    run = started(ticker, request, LARGE_FILE_JOB)
    ticker.run_keys.clear()
    assert ticker.tick("watched_folder")[0] == []
    ticker.instance.report_run_failed(run)
    assert ticker.tick("watched_folder")[0] == []
    (problem,) = shop_status(shop.deployment, 0)["set_aside"]
    assert problem["reason"] == "the server says nothing"


def test_intake_runs_by_itself_in_a_new_installation() -> None:
    repository = build_defs().get_repository_def()
    running = {
        definition.name
        for definition in (*repository.sensor_defs, *repository.schedule_defs)
        if definition.default_status.value == "RUNNING"
    }
    assert {"watched_folder", "registered_batches", "catalog_sync"} <= running
