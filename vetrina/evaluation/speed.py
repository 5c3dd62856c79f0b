"""What an extractor costs: processor and wall time of a crop, and memory, measured in a process of its own.

A fresh process, so that neither what is loaded already nor another model is counted. All threads count in processor
time, so it says what a crop costs, and wall time what one waits for it, on this machine and as busy as it is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.embedding.extractor import Extractor, open_extractor
from vetrina.errors import ModelError, VetrinaError
from vetrina.store import Store

BATCH = 16
_SINGLES, _BATCHES = 32, 8
_SECONDS = 20.0  # of each of the two series, at most
_LONGEST = 900.0  # of the whole process
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Speed:
    """What an extractor costs. Times are milliseconds for one crop of a warm model, memory is in MiB.

    Attributes:
        single, batch: "cpu_p50", "cpu_p99", "wall_p50", "wall_p99" of crops one by one, and of BATCH at once.
        opened_in: seconds until the model could be used.
        loaded_mib: growth of resident memory by opening the model; peak_mib: by opening and running it, at its most.
        dims: of a vector.
    """

    single: dict[str, float]
    batch: dict[str, float]
    opened_in: float
    loaded_mib: float
    peak_mib: float
    dims: int

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def measure_speed(handle: str, store: Store, crops: Sequence[np.ndarray]) -> Speed:
    """Measure an extractor on some crops (uint8 [h, w, 3], at least one).

    Raises:
        ModelError: it cannot be opened, or cannot embed the crops.
    """
    with tempfile.TemporaryDirectory(prefix="vetrina-speed-") as folder:
        file = Path(folder) / "crops.npz"
        np.savez(file, *crops)
        command = [sys.executable, "-m", __name__, handle, store.root, str(file)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST, check=False)
        except subprocess.TimeoutExpired:
            raise ModelError(
                f"The model {handle!r} did not embed {len(crops)} crops within {_LONGEST:.0f} s; try a smaller one"
            ) from None
    try:
        said = json.loads(done.stdout.rsplit("\n", 2)[-2])
    except (IndexError, ValueError):
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise ModelError(f"Measuring the model {handle!r} ended with exit code {done.returncode}: {last}") from None
    if "error" in said:
        raise ModelError(said["error"])
    return Speed(**said)


def _measured(handle: str, root: str, file: str) -> dict[str, Any]:
    with np.load(file, allow_pickle=False) as stored:
        crops = [stored[name] for name in stored.files]
    before, began = _resident("VmRSS"), time.perf_counter()
    extractor = open_extractor(handle, Store(root))
    opened_in, loaded = time.perf_counter() - began, _resident("VmRSS")
    ones = [[crops[number % len(crops)]] for number in range(_SINGLES)]
    many = [[crops[(start + number) % len(crops)] for number in range(BATCH)] for start in range(_BATCHES)]
    return Speed(
        single=_series(extractor, ones),
        batch=_series(extractor, many),
        opened_in=round(opened_in, 3),
        loaded_mib=round((loaded - before) / _KIB, 1),
        peak_mib=round((_resident("VmHWM") - before) / _KIB, 1),
        dims=extractor.dims,
    ).as_json()


def _series(extractor: Extractor, calls: Sequence[Sequence[np.ndarray]]) -> dict[str, float]:
    """Milliseconds for one crop over some calls; the first call only warms up."""
    extractor.embed(calls[0])
    spent = []
    ends = time.perf_counter() + _SECONDS
    for crops in calls:
        clocks: tuple[Callable[[], float], ...] = (time.process_time, time.perf_counter)
        began = [clock() for clock in clocks]
        extractor.embed(crops)
        spent.append([(clock() - start) * 1000 / len(crops) for clock, start in zip(clocks, began, strict=True)])
        if time.perf_counter() > ends:
            break
    p50, p99 = np.percentile(spent, [50, 99], axis=0)
    return {
        "cpu_p50": round(float(p50[0]), 3),
        "cpu_p99": round(float(p99[0]), 3),
        "wall_p50": round(float(p50[1]), 3),
        "wall_p99": round(float(p99[1]), 3),
    }


def _resident(entry: str) -> int:
    """Of this process, KiB: VmRSS (now) or VmHWM (at its most)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{entry}:")))


if __name__ == "__main__":
    try:
        answer = _measured(*sys.argv[1:])
    except VetrinaError as error:
        answer = {"error": str(error)}
    print(f"\n{json.dumps(answer)}")
