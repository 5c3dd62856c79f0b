import fcntl
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.processes import wait_until

from orchestration import retrying
from orchestration.retrying import RetryProcesses
from vetrina.errors import AlreadyRunning, VetrinaError
from web.shop import Retry

Begin = Callable[[str], Retry]


@pytest.fixture
def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """What comes of a retry whose process runs this Python code."""

    def begin(code: str) -> Retry:
        monkeypatch.setattr(retrying, "_COMMAND", (sys.executable, "-c", code))
        with RetryProcesses(tmp_path / "home", lambda: None) as retries:
            assert retries.start().state == "running"
            return _ended(retries)

    return begin


def test_a_retry_that_succeeds_gives_its_report_and_never_saw_the_token(
    outcome: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VETRINA_SERVE_TOKEN", "not-for-children-of-it")
    found = outcome("import json, os; print(json.dumps({'failed': [], 'seen': 'VETRINA_SERVE_TOKEN' in os.environ}))")
    assert (found.state, found.report, found.error) == ("done", {"failed": [], "seen": False}, None)
    assert found.ended is not None and found.since <= found.ended


def test_a_retry_that_did_a_part_says_what_it_could_not_do(outcome: Begin) -> None:
    report = {"failed": [{"catalog": "a.csv", "error": "It is cut"}, {"catalog": "index", "error": "The disk is full"}]}
    found = outcome(f"print({json.dumps(json.dumps(report))}); raise SystemExit(1)")
    assert (found.state, found.report) == ("failed", report)
    assert found.error == "a.csv: It is cut; index: The disk is full"


def test_a_retry_that_can_do_nothing_says_why_in_its_own_words(outcome: Begin) -> None:
    found = outcome("import sys; print('INFO: x', file=sys.stderr); sys.exit('vetrina: Nothing to retry')")
    assert (found.state, found.report, found.error) == ("failed", None, "Nothing to retry")


def test_a_retry_that_crashes_is_told_in_the_log_only(outcome: Begin, caplog: pytest.LogCaptureFixture) -> None:
    found = outcome("raise RuntimeError('the inside')")
    assert (found.state, found.report) == ("failed", None)
    assert found.error == "It ended unexpectedly (1); the server's log has what it said last"
    assert "the inside" in caplog.text


def test_never_two_at_once_and_one_that_runs_ends_with_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import time; time.sleep(60)"
    monkeypatch.setattr(retrying, "_COMMAND", (sys.executable, "-c", code))
    with RetryProcesses(tmp_path, lambda: None) as retries, RetryProcesses(tmp_path, lambda: None) as other:
        retries.start()
        with pytest.raises(AlreadyRunning, match="being asked for again already; wait until that has ended"):
            retries.start()
        with pytest.raises(AlreadyRunning, match="by a retry that another server began"):
            other.start()
        assert other.last is None
    assert retries.last is not None and retries.last.state == "failed"
    assert str(retries.last.error).startswith("It was ended with the server; what it had done by then is kept")
    assert _is_free(tmp_path / "retry.lock")


def test_one_that_does_not_heed_the_end_of_the_server_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); open('deaf', 'w'); time.sleep(60)"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retrying, "_COMMAND", (sys.executable, "-c", deaf))
    monkeypatch.setattr(retrying, "_GRACE", 0.1)
    with RetryProcesses(tmp_path, lambda: None) as retries:
        retries.start()
        wait_until((tmp_path / "deaf").exists, {})
    assert retries.last is not None and retries.last.state == "failed"
    assert _is_free(tmp_path / "retry.lock")


def test_another_may_begin_when_one_has_ended_whatever_follows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "_COMMAND", (sys.executable, "-c", "print('{\"failed\": []}')"))
    follows = threading.Event()

    def ended() -> None:
        assert retries.last is not None and retries.last.state == "running"  # not done before this is
        follows.set()
        raise RuntimeError("what follows fails")

    with RetryProcesses(tmp_path, ended) as retries:
        for _ in range(2):
            follows.clear()
            retries.start()
            assert _ended(retries).state == "done"
            assert follows.is_set()


def test_a_retry_that_cannot_be_started_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with RetryProcesses(tmp_path / "file", lambda: None) as retries:
        with pytest.raises(VetrinaError, match=f"The retry cannot be started: .*{tmp_path}"):
            retries.start()
        assert retries.last is None


def _is_free(lock: Path) -> bool:
    with lock.open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def _ended(retries: RetryProcesses) -> Retry:
    """The retry, once it has ended."""
    wait_until(lambda: retries.last is not None and retries.last.state != "running", {})
    assert retries.last is not None
    return retries.last
