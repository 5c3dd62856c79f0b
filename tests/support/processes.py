"""Programs that run beside a test and end with it, whatever becomes of the test."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def path_with_tools() -> str:
    """PATH with this environment's programs first: as after `. .venv/bin/activate`."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@contextmanager
def running(command: Sequence[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a process group of its own, in the repository's root; the whole group is ended with the block."""
    settings = {**os.environ, "PATH": path_with_tools(), "PYTHONPATH": str(REPOSITORY), **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=settings, cwd=REPOSITORY, start_new_session=True
        )
    try:
        yield process
    finally:
        for end in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, end)
                process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def wait_until(come: Callable[[], bool], logs: Mapping[str, Path], seconds: float = 900) -> None:
    """Wait for something; the ends of the logs say why when it does not come."""
    until = time.monotonic() + seconds
    while not come():
        if time.monotonic() > until:
            ends = "\n".join(f"--- {name}\n{log.read_text()[-3000:]}" for name, log in logs.items())
            raise AssertionError(f"It does not come:\n{ends}")
        time.sleep(0.25)
