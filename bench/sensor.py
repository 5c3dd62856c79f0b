"""What a tick of intake costs: many files in the watched folder, many batches in the store.

    python bench/sensor.py [--files 10000] [--batches 2000]

Times are CPU and wall seconds of this process, in a temporary folder of its own.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vetrina.catalog import watching
from vetrina.catalog.batches import list_batches, register_batch
from vetrina.catalog.source_files import ReadOptions
from vetrina.catalog.watching import watch
from vetrina.store import Store

T = TypeVar("T")
HEADER = "id,image_url\n"


def timed(what: str, work: Callable[[], T]) -> T:
    wall, cpu = time.monotonic(), time.process_time()
    result = work()
    print(f"{what:58} {time.process_time() - cpu:8.3f} s CPU {time.monotonic() - wall:8.3f} s wall")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--batches", type=int, default=2_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vetrina-bench-") as home:
        folder = Path(home, "in")
        folder.mkdir()
        store = Store(Path(home, "store"))
        for number in range(asked.files):
            (folder / f"catalog-{number:06}.csv").write_text(f"{HEADER}{number},https://pics.example/{number}.jpg\n")

        def tick() -> watching.WatchReport:
            return watch(store, str(folder), ReadOptions(), settle=0.0, budget=20.0, large_bytes=64 << 20)

        ticks = 0
        report = timed(f"first tick, {asked.files} new files", tick)
        print(f"  registered {len(report.registered)}, left {report.left}")
        while report.left and len(list_batches(store)) < asked.batches:
            report = timed(f"a further tick, {report.left} new files", tick)
            ticks += 1
            print(f"  registered {len(report.registered)}, left {report.left}")
        print(f"{len(list_batches(store))} batches")
        known = {entry.name: watching.Known(entry.mark, 0.0, "taken") for entry in watching.list_folder(str(folder))}
        watching._write_known(store, f"intake/watched/{watching._digest(str(folder))}.json.z", known)
        for _ in range(3):
            timed(f"tick, {asked.files} files, nothing new", tick)
        late = folder / "late.csv"
        for count in range(3):
            late.write_text(f"{HEADER}late,https://pics.example/{count}.jpg\n")
            timed(f"tick, {asked.files} files, one changed", tick)
        timed("register one more batch", lambda: register_batch(store, str(folder / "catalog-000000.csv"), name="one"))
        # What a code server that has just started pays once: every record is read.
        from vetrina.catalog import batches

        timed(f"list {len(list_batches(store))} batches again", lambda: list_batches(store))
        batches._LISTED.clear()
        timed("list them anew", lambda: list_batches(store))


if __name__ == "__main__":
    main()
