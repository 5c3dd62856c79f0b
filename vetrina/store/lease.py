"""Leases: how processes take turns where there are no locks, built on create-only and the server's clock.

``locks/<name>/<number>.json`` with the highest number is the lease. Its holder writes it again every few seconds;
one that was not written for `LEASE` seconds, that says it was given back, or whose process was of this machine and
is gone, is free: who creates the next number has it. A lease saves work. It does not make the work safe: a holder
that was stopped (a suspended machine) may wake to find another at it, so what is done under a lease must be safe to
do twice.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from vetrina.errors import StoreError

LEASE = 60.0
"""Seconds after which a lease that is not renewed is free: how long others wait for a process that was killed."""
POLL = 1.0
"""Seconds between two looks of one who waits."""

_RENEWALS = 4
"""In the time of one lease."""
_NAME = re.compile(r"(\d{9})\.json")
_log = logging.getLogger(__name__)


class LeaseFiles(Protocol):
    """What leases need of a store."""

    def names(self, folder: str) -> list[str]:
        """Names in a folder."""

    def create(self, path: str, data: bytes) -> bool:
        """Create-only."""

    def write_anyway(self, path: str, data: bytes) -> None:
        """Replace, also while the store is judged down."""

    def delete(self, path: str) -> None:
        """Remove."""

    def read_aged(self, path: str) -> tuple[bytes, float]:
        """Content, and seconds since it was written. Raises FileNotFoundError."""


@contextlib.contextmanager
def hold(files: LeaseFiles, name: str, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Have the lease called `name` during the block; wait for it while another has it.

    Args:
        on_wait: called once if there is a wait.
    """
    holder = {"machine": _machine(), "process": os.getpid(), "started": _started(os.getpid())}
    holder |= {"host": socket.gethostname(), "mark": uuid.uuid4().hex}
    path = _take(files, f"locks/{name}", _record(holder, held=True), on_wait)
    ended = threading.Event()
    keeper = threading.Thread(target=_renew, args=(files, path, _record(holder, held=True), ended), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        with _tolerated(f"The lease {path} could not be given back; others wait {LEASE:.0f} s for it"):
            files.write_anyway(path, _record(holder, held=False))


def _take(files: LeaseFiles, folder: str, record: bytes, on_wait: Callable[[], None] | None) -> str:
    waited = False
    while True:
        found = (_NAME.fullmatch(name) for name in files.names(folder))
        numbers = sorted(int(match[1]) for match in found if match)
        newest = numbers[-1] if numbers else 0
        if not newest or _is_free(files, _path(folder, newest)):
            path = _path(folder, newest + 1)
            if files.create(path, record):
                with _tolerated(f"Former leases in {folder} could not be deleted"):
                    for number in numbers:
                        files.delete(_path(folder, number))
                return path
        if not waited and on_wait is not None:
            on_wait()
        waited = True
        threading.Event().wait(POLL)


def _is_free(files: LeaseFiles, path: str) -> bool:
    try:
        data, age = files.read_aged(path)
    except FileNotFoundError:
        return False  # taken by someone with a higher number, since it was listed
    if age > LEASE:
        return True
    try:
        record = json.loads(data)
        return not record["held"] or _has_died(record)
    except (ValueError, KeyError, TypeError):
        return False  # nobody writes such a thing; it expires like any other


def _has_died(record: dict[str, Any]) -> bool:
    """Whether the holder was a process of this very machine and is gone; of others only time can tell."""
    return record["machine"] == _machine() != "" and record["started"] != _started(record["process"])


def _machine() -> str:
    """Names the processes among which a process number means one: this start of the machine, this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(process: int) -> str:
    """When a process of this machine began, in ticks, so that its number given out again is told from it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _renew(files: LeaseFiles, path: str, record: bytes, ended: threading.Event) -> None:
    while not ended.wait(LEASE / _RENEWALS):
        with _tolerated(f"The lease {path} could not be renewed; another process may do the same work"):
            files.write_anyway(path, record)


@contextlib.contextmanager
def _tolerated(message: str) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        _log.warning("%s (%s)", message, error)


def _record(holder: dict[str, object], *, held: bool) -> bytes:
    return json.dumps({**holder, "held": held}).encode()


def _path(folder: str, number: int) -> str:
    return f"{folder}/{number:09d}.json"
