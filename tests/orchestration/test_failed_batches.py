"""Batches whose run failed: when they are tried again, and when no more."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from support.fault_server import FaultServer
from support.sensors import ROWS, Ticker, fail
from support.shops import Shop, rows_of

from orchestration.failed_batches import MOST_TRIES
from vetrina.catalog.batches import list_batches


def test_a_batch_whose_run_failed_gets_another_one_later_and_not_for_ever(
    shop: Shop, server: FaultServer, folder: Path, ticker: Ticker, hours_later: Callable[[], None]
) -> None:
    shop.catalog("in/spring", rows_of(server, ["oak-chair"]))
    ticker.tick("watched_folder")
    (batch,) = list_batches(shop.deployment.store)
    ((request,), _) = ticker.tick("registered_batches")
    assert request.run_key == batch.key

    fail(ticker, request)
    assert ticker.tick("registered_batches")[0] == []  # not at once
    hours_later()
    for _ in range(MOST_TRIES - 1):
        ((request,), _) = ticker.tick("registered_batches")
        assert request.partition_key == batch.key
        fail(ticker, request)
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
            fail(ticker, request)
            tries[request.partition_key] += 1
    assert tries == {batch.key: MOST_TRIES for batch in list_batches(shop.deployment.store)}


def test_a_batch_whose_retries_a_former_version_let_stall_is_tried_again(
    shop: Shop, folder: Path, ticker: Ticker, hours_later: Callable[[], None]
) -> None:
    (folder / "spring.csv").write_text(ROWS)
    ticker.tick("watched_folder")
    ((first,), _) = ticker.tick("registered_batches")
    fail(ticker, first)
    fail(ticker, dg.RunRequest(partition_key=first.partition_key, run_key=f"{first.run_key}:1"))
    ticker.run_keys.append(f"{first.run_key}:2")  # asked for already, as Dagster knows
    hours_later()
    ((again,), _) = ticker.tick("registered_batches")
    assert str(again.run_key).startswith(f"{first.run_key}:2:")


def test_what_the_folder_took_over_from_a_command_is_tried_again_as_well_and_never_twice_at_once(
    shop: Shop, server: FaultServer, folder: Path, ticker: Ticker, hours_later: Callable[[], None]
) -> None:
    content = Path(shop.catalog("spring", rows_of(server, ["box"]))).read_bytes()
    batch = shop.register(str(shop.folder / "spring.csv"))
    fail(ticker, dg.RunRequest(partition_key=batch.key))  # the command's own run
    (folder / "spring.csv").write_bytes(content)
    ticker.tick("watched_folder")
    hours_later()
    for _ in range(MOST_TRIES):
        ((request,), _) = ticker.tick("registered_batches")
        assert request.partition_key == batch.key
        fail(ticker, request)
    assert ticker.tick("registered_batches")[0] == []


def test_a_batch_that_was_worked_after_its_failure_is_left_alone(
    shop: Shop, server: FaultServer, folder: Path, ticker: Ticker, hours_later: Callable[[], None]
) -> None:
    shop.catalog("in/spring", rows_of(server, ["oak-chair"]))
    ticker.tick("watched_folder")
    (batch,) = list_batches(shop.deployment.store)
    ((request,), _) = ticker.tick("registered_batches")
    fail(ticker, request)
    shop.work(batch)
    hours_later()
    assert ticker.tick("registered_batches")[0] == []
