"""Where Dagster keeps its history, and how what a killed run left behind is put right."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from vetrina.errors import VetrinaError
from vetrina.settings import REPOSITORY

PID_TAG = "vetrina/process"


class HistoryUnusable(VetrinaError):
    """Dagster's history cannot be read or written."""


@contextmanager
def history_in_words() -> Iterator[None]:
    """Turns what goes wrong with Dagster's own database into one sentence."""
    try:
        yield
    except SQLAlchemyError as error:
        why = getattr(error, "orig", None) or type(error).__name__
        home = os.environ.get("DAGSTER_HOME", "")
        raise HistoryUnusable(
            f"Dagster's history in {home} cannot be used: {why}; free some room, or let DAGSTER_HOME name another "
            "folder. What was worked is kept in the store"
        ) from error


def open_instance() -> dg.DagsterInstance:
    """The Dagster instance of `home_folder`.

    Raises:
        HistoryUnusable: the folder or the database in it cannot be used.
    """
    home = home_folder()
    os.environ["DAGSTER_HOME"] = str(home)
    try:
        if not (home / "dagster.yaml").exists():
            make_home(home)
    except OSError as error:
        raise HistoryUnusable(f"DAGSTER_HOME, {home}, cannot be made: {error.strerror}; name another folder") from error
    with history_in_words():
        instance = dg.DagsterInstance.get()
        end_dead_runs(instance)
    return instance


def home_folder() -> Path:
    """DAGSTER_HOME; by default the folder .dagster in the repository."""
    return Path(os.environ.get("DAGSTER_HOME") or REPOSITORY / ".dagster").absolute()


def make_home(folder: Path) -> None:
    """Make `folder` a DAGSTER_HOME that reads the repository's dagster.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "dagster.yaml"
    link.unlink(missing_ok=True)  # a link into a repository that has moved
    link.symlink_to(REPOSITORY / "dagster.yaml")


def process_name() -> str:
    """This process in a way that no other shares: where its number means one process, the number, the start time."""
    return ":".join((*_place(), f"{os.getpid()}", _started(os.getpid())))


def end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs of the command line whose process is gone as failed, and free the pool places that they held."""
    active = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    for run in instance.get_runs(active):
        name = run.tags.get(PID_TAG)
        if name is None or not process_is_gone(name):
            continue
        instance.report_run_failed(run, "The process that ran this is gone; run the command again to go on.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def end_runs_before_boot(instance: dg.DagsterInstance) -> None:
    """Mark runs as failed that began before this machine last started: nobody else tells Dagster of a power failure.

    For an instance whose daemon starts its runs on this machine (`make ui`); those of commands may live elsewhere. Runs
    that ask to be started anew are.
    """
    booted = _booted_at()
    lost = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    )
    for record in instance.get_run_records(lost):
        run = record.dagster_run
        process = run.tags.get(PID_TAG)
        if process is not None and not process_is_gone(process):
            continue
        if (record.start_time or record.update_timestamp.timestamp()) < booted:
            instance.report_run_failed(run, "The machine was started anew while this ran.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def process_is_gone(name: str) -> bool:
    """Whether a process has ended: one of this container, or of this host before it was last started.

    Of other hosts and containers nothing is known.
    """
    *named, number, started = name.split(":")
    host, boot, numbers = _place()
    if len(named) == 1:  # by a former version, which ran here or was stopped for this one
        named = [host, *named, numbers]
    if named == [host, boot, numbers]:
        return _started(int(number)) != started
    return named[0] == host and named[1] != boot


def _place() -> tuple[str, str, str]:
    """Where a process number means one process: the host, this start of it, the numbers' namespace (a container)."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname(), boot, f"{Path('/proc/self/ns/pid').stat().st_ino}"


def _booted_at() -> float:
    """When this machine was started: seconds since 1970."""
    lines = Path("/proc/stat").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("btime")))


def _started(number: int) -> str:
    """When a process began, in ticks since the boot, so that its number given out again is told from it."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


if __name__ == "__main__":  # before `make ui` starts the daemon
    end_runs_before_boot(open_instance())
