"""Files dropped in the watched folder, with Dagster's daemon at work and nobody to start a run."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from support.shops import Shop

from vetrina.catalog.batches import list_batches
from vetrina.index.versions import current, verify
from vetrina.settings import REPOSITORY

DAEMON = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", "workspace.yaml"]
PATIENCE = 900.0  # seconds; a tick comes every half minute and each run starts a process


@pytest.fixture
def watched(shop: Shop, product_pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The watched folder, with pictures in a folder beside the catalogs that will come."""
    folder = shop.folder / "watched"
    (folder / "pictures").mkdir(parents=True)
    for name, data in product_pictures.items():
        (folder / "pictures" / f"{name}.png").write_bytes(data)
    shop.set(WATCH=folder, WATCH_SETTLE=1)
    return folder


def _drop(folder: Path, name: str, pictures: Sequence[str]) -> None:
    """Put a catalog in the folder as a careful shop does: written aside, then renamed."""
    aside = folder / f".{name}.part"
    with aside.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "path"])
        writer.writerows([picture, f"pictures/{picture}.png"] for picture in pictures)
    aside.rename(folder / f"{name}.csv")


@contextmanager
def _daemon(shop: Shop) -> Iterator[None]:
    """Dagster's daemon over the repository's workspace; killed, with all it started, when the block ends."""
    log = (shop.folder / "daemon.log").open("ab")
    process = subprocess.Popen(
        DAEMON, cwd=REPOSITORY, env=os.environ.copy(), stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield
        assert process.poll() is None, (shop.folder / "daemon.log").read_text()[-3000:]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def _await(what: str, done: Callable[[], bool], shop: Shop) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen\n{(shop.folder / 'daemon.log').read_text()[-3000:]}")
        time.sleep(1)


def _indexed(shop: Shop) -> set[str]:
    """Products that the current index holds."""
    store = shop.deployment.store
    published = current(store)
    if published is None or verify(store, published) is None:
        return set()
    window = shop.deployment.window()
    return {window.index.rows.product_id(number) for number in range(window.index.rows.products)}


def _runs(shop: Shop) -> list[tuple[str, str]]:
    """Job and status of every run."""
    runs = dg.DagsterInstance.get().get_runs()
    return [(run.job_name, run.status.value) for run in runs]


def test_files_that_arrive_become_batches_runs_and_an_index_by_themselves(shop: Shop, watched: Path) -> None:
    _drop(watched, "chairs", ["oak-chair", "white-chair"])
    _drop(watched, "shoes", ["bootie", "slippers"])
    (watched / "empty.csv").write_bytes(b"")
    with _daemon(shop):
        first = {"oak-chair", "white-chair", "bootie", "slippers"}
        _await("The index of the first files", lambda: _indexed(shop) == first, shop)
        _drop(watched, "kitchen", ["coffee-cup", "beer-glass"])
        both = first | {"coffee-cup", "beer-glass"}
        _await("The index of the later file", lambda: _indexed(shop) == both, shop)
        # The index is there before its run has ended, and who kills the daemon kills its runs.
        _await("The end of the runs", lambda: all(status == "SUCCESS" for _, status in _runs(shop)), shop)
    # A daemon that was killed and comes back finds nothing left to do.
    before = Counter(job for job, _ in _runs(shop))
    with _daemon(shop):
        time.sleep(45)
    runs = _runs(shop)
    assert Counter(job for job, _ in runs) == before
    assert {status for _, status in runs} == {"SUCCESS"}
    assert before["batch"] == 3
    assert 2 <= before["publish"] <= 3  # one for each burst; the first may come in two if a tick falls between
    assert len(list_batches(shop.deployment.store)) == 3
    assert shop.similar("oak-chair", 1) == ["white-chair"]
