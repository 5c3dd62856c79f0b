"""Fetching many pictures at a time: shared out fairly, bounded, lazily, and stopped promptly."""

import itertools
import threading
import time
from collections.abc import Iterator

import pytest
from support import fault_server as faults
from support.fault_server import TINY_JPEG, FaultServer

from vetrina.pictures.fetching import Fetched, Fetcher, FetchFailed, FetchLimits, Validators

Job = tuple[str, str, Validators | None]


def limits(concurrency: int = 4, per_host: int = 4, backoff: float = 0.001) -> FetchLimits:
    return FetchLimits(
        concurrency=concurrency,
        per_host=per_host,
        attempts=3,
        backoff=backoff,
        connect_timeout=5,
        read_timeout=15,
        deadline=20,
        allow_private=True,
    )


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer({f"/{number}.jpg": TINY_JPEG for number in range(500)}) as running:
        yield running


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def jobs(server: FaultServer, count: int, host: str = "127.0.0.1") -> Iterator[Job]:
    for number in range(count):
        yield f"{host}/{number}", server.url(f"/{number}.jpg", host=host), None


def fetch_workers() -> list[str]:
    """The workers that are left after a moment, which is far shorter than a server holds a request here."""
    until = time.monotonic() + 10
    while True:
        left = [thread.name for thread in threading.enumerate() if thread.name.startswith("vetrina-fetch")]
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.01)


def test_every_job_gets_exactly_one_outcome_under_its_key(server: FaultServer) -> None:
    for number in range(0, 200, 7):
        server.fail(f"/{number}.jpg", faults.status(503, times=1))
    for number in range(0, 200, 11):
        server.fail(f"/{number}.jpg", faults.status(404))
    with Fetcher(limits()) as fetcher:
        outcomes = list(fetcher.fetch_all(jobs(server, 200)))
    assert sorted(key for key, _ in outcomes) == sorted(f"127.0.0.1/{number}" for number in range(200))
    failed = {key for key, outcome in outcomes if isinstance(outcome, FetchFailed)}
    assert failed == {f"127.0.0.1/{number}" for number in range(0, 200, 11)}
    assert not fetch_workers()


def test_no_jobs_give_no_outcomes() -> None:
    with Fetcher(limits()) as fetcher:
        assert list(fetcher.fetch_all([])) == []


def test_no_more_than_the_limit_run_at_a_time_and_connections_are_kept(server: FaultServer) -> None:
    with Fetcher(limits(concurrency=16, per_host=3)) as fetcher:
        assert len(list(fetcher.fetch_all(jobs(server, 120)))) == 120
    assert server.peak <= 3
    assert server.connections < 40


def test_the_whole_fleet_is_used_where_hosts_allow_it(server: FaultServer) -> None:
    everyone_here = threading.Barrier(4)

    def meet(handler: faults.Handler) -> None:
        everyone_here.wait(faults.LONGEST_HOLD)
        handler.reply(200, TINY_JPEG)

    for number in range(4):
        server.fail(f"/{number}.jpg", faults.Fault(meet))
    with Fetcher(limits()) as fetcher:
        outcomes = dict(fetcher.fetch_all(jobs(server, 4)))
    assert all(isinstance(outcome, Fetched) for outcome in outcomes.values())


def test_a_host_that_hangs_does_not_starve_the_others(server: FaultServer, gate: threading.Event) -> None:
    with FaultServer() as slow:
        for number in range(50):
            slow.fail(f"/{number}.jpg", faults.held(gate))
        # The slow host's jobs come first and are far more than there are workers.
        both = itertools.chain(jobs(slow, 50, host="127.0.0.1"), jobs(server, 100, host="localhost"))
        with Fetcher(limits(concurrency=4, per_host=2)) as fetcher:
            outcomes = fetcher.fetch_all(both)
            first = [next(outcomes)[0] for _ in range(100)]
            assert all(key.startswith("localhost/") for key in first)
            gate.set()
            assert len(list(outcomes)) == 50
        assert slow.peak <= 2


def test_a_pause_before_another_attempt_occupies_no_worker(server: FaultServer) -> None:
    for number in range(10):
        server.fail(f"/{number}.jpg", faults.too_many("25", times=1))
    with Fetcher(limits(concurrency=1, per_host=1)) as fetcher:
        outcomes = fetcher.fetch_all(jobs(server, 30))
        first = {next(outcomes)[0] for _ in range(20)}
        outcomes.close()
    assert first == {f"127.0.0.1/{number}" for number in range(10, 30)}


def test_jobs_are_drawn_lazily_and_outcomes_wait_in_bounded_number(server: FaultServer) -> None:
    drawn = 0

    def endless() -> Iterator[Job]:
        nonlocal drawn
        for drawn in itertools.count(1):
            yield str(drawn), server.url(f"/{drawn % 500}.jpg"), None

    with Fetcher(limits(concurrency=4, per_host=4)) as fetcher:
        outcomes = fetcher.fetch_all(endless())
        for taken in range(1, 101):
            next(outcomes)
            # Served is what was taken, what waits and what is under way.
            assert len(server.requests) <= taken + 4
        assert drawn <= 100 + 4 + 64 * 4
        outcomes.close()
    assert not fetch_workers()


def test_closing_early_stops_workers_that_wait_for_a_server(server: FaultServer, gate: threading.Event) -> None:
    for number in range(1, 8):
        server.fail(f"/{number}.jpg", faults.held(gate))
    with Fetcher(limits()) as fetcher:
        outcomes = fetcher.fetch_all(jobs(server, 8))
        assert next(outcomes)[0] == "127.0.0.1/0"
        outcomes.close()
        # The gate is still shut: only the stop signal can have ended them.
        assert not fetch_workers()
        assert isinstance(fetcher.fetch(server.url("/300.jpg")), Fetched)


def test_closing_the_fetcher_ends_what_is_under_way(server: FaultServer, gate: threading.Event) -> None:
    server.fail("/0.jpg", faults.held(gate))
    fetcher = Fetcher(limits())
    ended: list[object] = []
    waiting = threading.Thread(target=lambda: ended.append(fetcher.fetch(server.url("/0.jpg"))))
    waiting.start()
    while not server.requests:
        waiting.join(0.01)
    fetcher.close()
    waiting.join(faults.LONGEST_HOLD)
    (outcome,) = ended
    assert isinstance(outcome, FetchFailed)
    assert (outcome.reason, outcome.transient) == ("stopped", True)


def test_an_error_in_the_jobs_reaches_the_caller_and_stops_the_workers(server: FaultServer) -> None:
    def broken() -> Iterator[Job]:
        yield from jobs(server, 3)
        raise LookupError("the catalog broke off")

    with Fetcher(limits()) as fetcher:
        with pytest.raises(LookupError, match="broke off"):
            list(fetcher.fetch_all(broken()))
        assert not fetch_workers()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_in_a_worker_reaches_the_caller(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with Fetcher(limits()) as fetcher:
        monkeypatch.setattr(fetcher, "_attempt", broken)
        with pytest.raises(RuntimeError, match="worker failed") as caught:
            list(fetcher.fetch_all(jobs(server, 3)))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_two_fleets_share_one_fetcher(server: FaultServer) -> None:
    with Fetcher(limits()) as fetcher:
        counts: list[int] = []
        runs = [
            threading.Thread(target=lambda: counts.append(len(list(fetcher.fetch_all(jobs(server, 60))))))
            for _ in range(2)
        ]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
    assert counts == [60, 60]
