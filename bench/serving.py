"""The server under load on loopback: requests a second, latency, memory, and index swaps while it answers.

    VETRINA_STORE=vetrina-store PYTHONPATH=. .venv/bin/python bench/serving.py

A copy of the store is served by `vetrina serve`; the requests come from this process over eight connections.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import requests
import uvloop

from vetrina.settings import Settings

CLI = (sys.executable, "-c", "from orchestration.cli import main; main()")
CONNECTIONS = 8
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Load:
    """What came of some requests."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    server_cpu: float = 0.0

    def line(self, name: str) -> str:
        """A row of a table."""
        count = len(self.latencies)
        ordered = sorted(self.latencies)
        p50, p99 = (1000 * ordered[int(share * (count - 1))] for share in (0.5, 0.99))
        return (
            f"| {name} | {count} | {count / self.seconds:.0f} | {p50:.1f} ms | {p99:.1f} ms "
            f"| {1000 * ordered[-1]:.0f} ms | {1000 * self.server_cpu / count:.2f} ms | {self.errors} |"
        )

    @property
    def errors(self) -> int:
        return self.broken + sum(count for status, count in self.statuses.items() if status != 200)


class Server:
    """`vetrina serve` as a process of its own."""

    def __init__(self, store: Path, home: Path) -> None:
        self.environment = {**os.environ, "VETRINA_STORE": str(store), "DAGSTER_HOME": str(home)}
        self.environment["VETRINA_SERVE_REFRESH"] = "0.5"
        self.process = subprocess.Popen(
            [*CLI, "serve", "--port", "0"], env=self.environment, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("Vetrina at "):
                self.address = line.split()[2].rstrip("/")
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self._wait()

    def _wait(self) -> None:
        while True:
            try:
                requests.get(f"{self.address}/readyz", timeout=5).raise_for_status()
                return
            except requests.RequestException:
                time.sleep(0.1)

    def cpu(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self) -> float:
        """Resident memory in MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


@contextmanager
def served(source: Path) -> Iterator[Server]:
    """A copy of a store, served."""
    with tempfile.TemporaryDirectory(prefix="vetrina-serving-") as folder:
        store = Path(folder) / "store"
        shutil.copytree(source, store)
        (Path(folder) / "home").mkdir()
        server = Server(store, Path(folder) / "home")
        try:
            yield server
        finally:
            server.stop()


async def _asking(
    address: str, paths: Iterator[str], load: Load, check: Callable[[bytes], bool] | None, stop: threading.Event
) -> None:
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for path in paths:
        if stop.is_set():
            break
        began = time.perf_counter()
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            at = head.index(b"content-length: ") + 16
            body = await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
        except (OSError, asyncio.IncompleteReadError, ValueError):
            load.broken += 1
            reader, writer = await asyncio.open_connection(host, int(port))
            continue
        load.latencies.append(time.perf_counter() - began)
        load.statuses[int(head[9:12])] += 1
        if check is not None and not check(body):
            load.broken += 1
    writer.close()


def ask(
    server: Server,
    paths: Iterator[str],
    check: Callable[[bytes], bool] | None = None,
    stop: threading.Event | None = None,
) -> Load:
    """Ask for all of the paths."""
    load = Load()

    async def everything() -> None:
        await asyncio.gather(
            *(_asking(server.address, paths, load, check, stop or threading.Event()) for _ in range(CONNECTIONS))
        )

    cpu, began = server.cpu(), time.perf_counter()
    uvloop.run(everything())
    load.seconds, load.server_cpu = time.perf_counter() - began, server.cpu() - cpu
    return load


def fresh(ids: list[str], count: int, seed: int) -> Iterator[str]:
    """Questions that nobody asked before: any product, any k up to 20."""
    rng = random.Random(seed)
    for number in range(count):
        # Of several ids the last counts: the first is of no effect, but makes another address.
        aside = f"id={seed}-{number}&"
        yield f"/api/v1/similar?{aside}id={quote(rng.choice(ids), safe='')}&k={rng.randint(1, 20)}"


def repeated(ids: list[str], count: int, seed: int) -> Iterator[str]:
    """As a shop's product pages ask: any product, always the same k."""
    rng = random.Random(seed)
    for _ in range(count):
        yield f"/api/v1/similar?id={quote(rng.choice(ids), safe='')}&k=10"


def memory(server: Server, ids: list[str], count: int) -> list[float]:
    """Resident memory after each tenth of some requests, MB."""
    found = []
    for part in range(10):
        half = count // 20
        ask(server, fresh(ids, half, 100 + part))
        ask(server, repeated(ids, half, 200 + part))
        found.append(server.resident())
    return found


def swaps(server: Server, ids: list[str], times: int) -> tuple[Load, int, list[float]]:
    """Answers while batches are added and indexes published; the versions that were seen, and the memory after each."""
    versions: set[str] = set()
    resident = []

    def whole(body: bytes) -> bool:
        answer = json.loads(body)
        versions.add(answer["index_version"])
        new = [other["product_id"] for other in answer["similar"] if other["product_id"].startswith("swap-")]
        return len(answer["similar"]) == min(10, answer["available"]) and len(set(new)) == len(new)

    stop = threading.Event()
    rng = np.random.default_rng(5)

    def add() -> None:
        folder = Path(server.environment["VETRINA_STORE"]).parent
        for number in range(times):
            cv2.imwrite(str(folder / f"swap-{number}.png"), rng.integers(0, 255, (64, 64, 3), np.uint8))
            catalog = folder / f"swap-{number}.csv"
            catalog.write_text(f"id,path\nswap-{number},swap-{number}.png\n")
            subprocess.run([*CLI, "add", str(catalog)], env=server.environment, check=True, capture_output=True)
            time.sleep(1.5)
            resident.append(server.resident())
        stop.set()

    thread = threading.Thread(target=add)
    thread.start()
    load = ask(server, repeated(ids, 1 << 60, 7), whole, stop)
    thread.join()
    return load, len(versions), resident


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser()
    options.add_argument("--requests", type=int, default=10_000)
    options.add_argument("--memory", type=int, default=100_000)
    options.add_argument("--swaps", type=int, default=5)
    chosen = options.parse_args()
    with served(Path(Settings.from_environment().store)) as server:
        listing = requests.get(f"{server.address}/api/v1/products?count=1000", timeout=30).json()
        ids = [product["product_id"] for product in listing["products"]]
        ask(server, repeated(ids, 2000, 1))
        print(f"{len(ids)} products, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before\n")
        print("| similar by id | requests | a second | p50 | p99 | longest | server CPU each | errors |")
        print("|---|---|---|---|---|---|---|---|")
        rates = []
        for run in range(3):
            load = ask(server, fresh(ids, chosen.requests, 10 + run))
            rates.append(chosen.requests / load.seconds)
            print(load.line("never asked before"), flush=True)
        print(ask(server, repeated(ids, chosen.requests, 20)).line("asked before"), flush=True)
        print(f"\nmedian of the first three: {statistics.median(rates):.0f} a second\n")
        if chosen.memory:
            found = memory(server, ids, chosen.memory)
            print("resident MB after each tenth of", chosen.memory, ":", " ".join(f"{mb:.0f}" for mb in found), "\n")
        if chosen.swaps:
            load, versions, resident = swaps(server, ids, chosen.swaps)
            print(load.line(f"during {chosen.swaps} batches, {versions} index versions seen"))
            print("resident MB after each swap:", " ".join(f"{mb:.0f}" for mb in resident))


if __name__ == "__main__":
    main()
