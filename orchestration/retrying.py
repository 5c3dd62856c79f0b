"""`vetrina retry` beside a server: a process of its own, never two at a time, ended with the server.

What an ended retry has done is kept, and the next goes on from there. The place is held by a file lock that the
process inherits, so that one which outlived a killed server still keeps a second from starting.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vetrina.errors import AlreadyRunning, VetrinaError
from vetrina.settings import REPOSITORY
from web.shop import Retry

_log = logging.getLogger(__name__)
_COMMAND = (sys.executable, "-m", "orchestration.cli", "retry", "--json")
_GRACE = 5.0  # seconds to end by itself
_STOPPED = "It was ended with the server; what it had done by then is kept, and the next one goes on from there"
_SECRETS = ("VETRINA_SERVE_TOKEN",)  # of no use to it
_SAYS = "vetrina: "


class RetryProcesses:
    """See `web.shop.Retries`; a context manager.

    Args:
        folder: where the lock lies; it is made when it is missing.
        ended: is called after each retry, in a thread of its own.
    """

    def __init__(self, folder: Path, ended: Callable[[], None]) -> None:
        self._folder = folder
        self._ended = ended
        self._guard = threading.Lock()
        self._closing = False
        self._last: Retry | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> RetryProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._closing = True
            process, thread = self._process, self._thread
        if process is None or thread is None:
            return
        process.send_signal(signal.SIGINT)
        thread.join(_GRACE)
        if thread.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            thread.join()

    @property
    def last(self) -> Retry | None:
        """See `web.shop.Retries`."""
        return self._last

    def start(self) -> Retry:
        """See `web.shop.Retries`."""
        with self._guard:
            if self._process is not None:
                raise AlreadyRunning("Failed pictures are being asked for again already; wait until that has ended")
            process = self._begin()
            began = Retry("running", _now())
            self._process, self._last = process, began
            self._thread = threading.Thread(target=self._wait, args=(process, began), name="retry")
            self._thread.start()
            return began

    def _begin(self) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        paths = [str(REPOSITORY), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / "retry.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return subprocess.Popen(
                    _COMMAND,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=environment,
                    start_new_session=True,  # Ctrl-C in the server's terminal is the server's
                    pass_fds=(lock.fileno(),),
                )
        except BlockingIOError as error:
            raise AlreadyRunning(
                "Failed pictures are being asked for again already, by a retry that another server began; wait until "
                "that has ended"
            ) from error
        except OSError as error:
            raise VetrinaError(f"The retry cannot be started: {error.strerror} ({self._folder})") from error

    def _wait(self, process: subprocess.Popen[bytes], began: Retry) -> None:
        said, told = (output.decode("utf-8", "replace") for output in process.communicate())
        state, report, error = _outcome(process.returncode, said, told)
        if self._closing and error is not None:
            error = _STOPPED
        if error is not None:
            _log.warning("A retry failed: %s", error)
        try:
            self._ended()  # first: who sees that it is done shall see what it did
        except Exception:
            _log.exception("What follows a retry failed")
        with self._guard:
            self._last = Retry(state, began.since, _now(), report, error)
            self._process = None


def _outcome(code: int, said: str, told: str) -> tuple[Any, dict[str, Any] | None, str | None]:
    """State, report and error of a process by its exit code and what it printed."""
    try:
        report: dict[str, Any] | None = json.loads(said)
    except ValueError:
        report = None
    if code == 0 and report is not None:
        return "done", report, None
    if report is not None and report["failed"]:
        return "failed", report, "; ".join(f"{entry['catalog']}: {entry['error']}" for entry in report["failed"])
    sentences = [line.removeprefix(_SAYS) for line in told.splitlines() if line.startswith(_SAYS)]
    if sentences:
        return "failed", report, sentences[-1]
    _log.error("vetrina retry ended with %d and said: %s", code, told[-4000:])
    return "failed", report, f"It ended unexpectedly ({code}); the server's log has what it said last"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
