"""What a search by photo costs over HTTP, against decode + detect + embed alone.

    VETRINA_STORE=.demo/store python bench/photo_search.py [--photos 64] [--clients 8] [--rounds 5]

The server is `vetrina serve` in a process of its own, on loopback. *Bare*: the decoder in this process, the detector,
and the extractor on the whole photo and its crops, nothing else. *Search*: POST /api/v1/search until the answer is
read, so also the transfer, a decoder in a process of its own, the search, whether anything is similar at all, and JSON.
One after the other: all photos bare, then all over HTTP, in turns. At the same time: all photos by a thread for each
core (bare), and by so many clients. Photos are the shop's own pictures, as they are and as JPEGs of 1600 × 1200.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import http.client
import io
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import local

from PIL import Image

from orchestration.deployment import Deployment
from vetrina.pictures.decoding import decode_picture
from vetrina.search.window import ShopWindow
from vetrina.settings import Settings
from vetrina.store import blob_path

_TICKS = os.sysconf("SC_CLK_TCK")
_connections = local()


@dataclass(frozen=True)
class Cost:
    """Milliseconds a photo: on the clock, and of the cores together."""

    wall: float
    cpu: float


@contextlib.contextmanager
def served() -> Iterator[tuple[int, int]]:
    """A server's port and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "from orchestration.cli import main; main()"
    with subprocess.Popen([sys.executable, "-c", command, "serve", "--port", str(port)]) as process:
        try:
            while True:
                assert process.poll() is None, "the server did not start"
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                time.sleep(0.1)
            yield port, process.pid
        finally:
            process.terminate()


def server_cpu(pid: int) -> float:
    """CPU seconds that a server and its decoders have used."""
    pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    fields = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / _TICKS


def own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def post(port: int, data: bytes) -> None:
    """One search; each thread keeps its connection, but none that the server is about to close."""
    if not hasattr(_connections, "kept"):
        _connections.kept, _connections.used = http.client.HTTPConnection("127.0.0.1", port), 0.0
    if time.monotonic() - _connections.used > 3:
        _connections.kept.close()  # the next request opens it again
    _connections.used = time.monotonic()
    _connections.kept.request("POST", "/api/v1/search", data, {"Content-Type": "application/octet-stream"})
    answer = _connections.kept.getresponse()
    said = json.loads(answer.read())
    assert answer.status == 200 and said["similar"], said


def large(data: bytes) -> bytes:
    """A picture as a photo from a camera would come."""
    stream = io.BytesIO()
    picture = Image.fromarray(decode_picture(data).pixels).resize((1600, 1200), Image.Resampling.BICUBIC)
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def cost(work: Callable[[], object], cpu: Callable[[], float], photos: int) -> Cost:
    wall, used = time.perf_counter(), cpu()
    work()
    return Cost((time.perf_counter() - wall) / photos * 1e3, (cpu() - used) / photos * 1e3)


def measure(what: str, window: ShopWindow, photos: list[bytes], asked: argparse.Namespace, port: int, pid: int) -> None:
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as bare, ThreadPoolExecutor(asked.clients) as clients:
        ways: dict[tuple[str, str], tuple[Callable[[], object], Callable[[], float]]] = {
            ("one after the other", "bare"): (lambda: [window.photo(photo) for photo in photos], own_cpu),
            ("one after the other", "search"): (
                lambda: [post(port, photo) for photo in photos],
                lambda: server_cpu(pid),
            ),
            (f"{asked.clients} clients", "bare"): (lambda: list(bare.map(window.photo, photos)), own_cpu),
            (f"{asked.clients} clients", "search"): (
                lambda: list(clients.map(lambda photo: post(port, photo), photos)),
                lambda: server_cpu(pid),
            ),
        }
        for work, _ in ways.values():
            work()  # once for nothing: interpreters, connections
        costs: dict[tuple[str, str], list[Cost]] = {way: [] for way in ways}
        for _ in range(asked.rounds):
            for way, (work, cpu) in ways.items():
                costs[way].append(cost(work, cpu, len(photos)))
    print(f"\n{what}: {statistics.mean(map(len, photos)) / 1e3:.0f} kB each")
    for how in dict.fromkeys(how for how, _ in ways):
        pairs = list(zip(costs[how, "bare"], costs[how, "search"], strict=True))
        for clock in ("wall", "cpu"):
            ratios = sorted(getattr(search, clock) / getattr(bare, clock) for bare, search in pairs)
            shown = ", ".join(f"{ratio - 1:+.0%}" for ratio in ratios)
            middle = [statistics.median(getattr(each, clock) for each in way) for way in zip(*pairs, strict=True)]
            print(f"| {how} | {clock} | {middle[0]:.1f} ms | {middle[1]:.1f} ms | {shown} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    window = Deployment(Settings.from_environment()).window()
    pictures = sorted({sha256 for _, sha256, _ in window.engine.listed()})[: asked.photos]
    small = [window.store.read(blob_path(sha256)) for sha256 in pictures]
    print(f"{datetime.date.today()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    with served() as (port, pid):
        measure("the shop's pictures", window, small, asked, port, pid)
        measure("photos of 1600 × 1200", window, [large(photo) for photo in small], asked, port, pid)


if __name__ == "__main__":
    main()
