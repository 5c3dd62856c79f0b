"""kill -9 in the middle of `vetrina add`, then the same command at once: as if nothing had happened."""

import io
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from PIL import Image, ImageOps
from support.fault_server import Fault, FaultServer, Handler
from support.shops import Shop, opened_shop

from orchestration.home import PID_TAG
from vetrina.embedding.vectors import remembered_vectors

PRODUCTS = 30
AT_ONCE = 2
VETRINA = str(Path(sys.executable).with_name("vetrina"))


def _variants(pictures: dict[str, bytes]) -> dict[str, bytes]:
    """Thirty different pictures made of twelve."""
    changes: list[Callable[[Image.Image], Image.Image]] = [lambda image: image, ImageOps.mirror, ImageOps.flip]
    made: dict[str, bytes] = {}
    for number, change in enumerate(changes):
        for name, data in pictures.items():
            stream = io.BytesIO()
            change(Image.open(io.BytesIO(data))).save(stream, "PNG")
            made[f"/{name}-{number}.png"] = stream.getvalue()
    return dict(list(made.items())[:PRODUCTS])


def _slow(body: bytes) -> Fault:
    def act(handler: Handler) -> None:
        handler.hold(0.1)
        handler.reply(200, body)

    return Fault(act)


@dataclass
class Undisturbed:
    """The server, the catalog, and how a shop ends that nobody disturbs."""

    server: FaultServer
    catalog: str
    end_state: dict[str, Any]


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Undisturbed]:
    with FaultServer(_variants(product_pictures)) as server, opened_shop(tmp_path_factory.mktemp("calm")) as calm:
        assert server.pictures is not None
        rows = [{"id": path, "url": server.url(path)} for path in server.pictures]
        catalog = calm.catalog("spring", [*rows, {"id": "gone", "url": server.url("/gone.png")}])
        calm.add(catalog)
        end_state = calm.end_state()
        assert sum(end_state["states"].values()) == PRODUCTS + 1
        for path, body in server.pictures.items():
            server.fail(path, _slow(body))
        yield Undisturbed(server, catalog, end_state)


@pytest.fixture
def disturbed(shop: Shop, undisturbed: Undisturbed) -> Shop:
    """A shop of its own whose requests are counted from nothing."""
    shop.set(FETCH_PER_HOST=AT_ONCE, FETCH_CONCURRENCY=AT_ONCE)
    undisturbed.server.requests.clear()
    return shop


class Add:
    """`vetrina add` in a process group of its own."""

    def __init__(self, catalog: str) -> None:
        self.process = subprocess.Popen(
            [VETRINA, "add", catalog], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )

    def __enter__(self) -> "Add":
        return self

    def __exit__(self, *_: object) -> None:
        if self.members() or self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def wait_until(self, come: Callable[[], bool]) -> None:
        """Wait for something that happens while the command runs."""
        until = time.monotonic() + 300
        while not come():
            assert self.process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < until, "it does not come"
            time.sleep(0.01)

    def members(self) -> list[int]:
        """Living processes of the group."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(group) == self.process.pid and state != "Z":
                found.append(int(stat.parent.name))
        return found


def _recorded(shop: Shop) -> int:
    """How many pictures are settled for good."""
    return sum(1 for _ in (shop.folder / "store" / "fetches").glob("*/[0-9a-f]*"))


def _memos(shop: Shop, kind: str) -> int:
    return sum(1 for _ in (shop.folder / "store" / kind).glob("*/*/[0-9a-f]*"))


def _go_on(shop: Shop, story: Undisturbed) -> dict[str, Any]:
    """The same command again, at once; checks that the end is that of the undisturbed shop."""
    report = shop.add(story.catalog)
    assert report["failed"] == []
    assert shop.end_state() == story.end_state
    return report


def _runs(shop: Shop) -> Counter[str]:
    return Counter(run.status.value for run in dg.DagsterInstance.get().get_runs() if PID_TAG in run.tags)


def test_the_whole_group_is_killed_while_it_fetches(disturbed: Shop, undisturbed: Undisturbed) -> None:
    server = undisturbed.server
    with Add(undisturbed.catalog) as add:
        add.wait_until(lambda: _recorded(disturbed) >= 10)
        os.killpg(add.process.pid, signal.SIGKILL)
        add.process.wait()
        settled = _recorded(disturbed)
        asked = len(server.counts)
        report = _go_on(disturbed, undisturbed)
    assert 10 <= settled < PRODUCTS
    again = {path for path, count in server.counts.items() if count > 1}
    # In flight: asked for or arrived, and not settled.
    assert len(again) <= asked - settled <= 3 * AT_ONCE
    assert max(server.counts.values()) <= 2
    assert report["total"]["reused"] == settled
    assert _runs(disturbed) == {"FAILURE": 1, "SUCCESS": 2}


def test_only_the_parent_is_killed_while_it_fetches(disturbed: Shop, undisturbed: Undisturbed) -> None:
    server = undisturbed.server
    with Add(undisturbed.catalog) as add:
        add.wait_until(lambda: _recorded(disturbed) >= 10)
        children = set(add.members()) - {add.process.pid}
        assert children  # the decoders
        os.kill(add.process.pid, signal.SIGKILL)
        add.process.wait()
        settled = _recorded(disturbed)
        report = _go_on(disturbed, undisturbed)
        until = time.monotonic() + 60
        while add.members() and time.monotonic() < until:
            time.sleep(0.05)
        assert add.members() == []  # the children went by themselves
    assert sum(count - 1 for count in server.counts.values()) <= 3 * AT_ONCE
    assert report["total"]["reused"] == settled
    assert _runs(disturbed) == {"FAILURE": 1, "SUCCESS": 2}


def _remembered_vectors(shop: Shop) -> int:
    """Vectors in whole memos; one memo holds those of all crops of its picture."""
    deployment = shop.deployment
    extractor = deployment.extractor.open(deployment.store)
    kinds = f"vectors/{deployment.extractor.identity().fingerprint}"
    names = [name for part in deployment.store.names(kinds) for name in deployment.store.names(f"{kinds}/{part}")]
    return sum(len(remembered_vectors(deployment.store, extractor, name)) for name in names)


@pytest.mark.parametrize("kind", ["detections", "vectors"])
def test_it_is_killed_while_the_networks_work(disturbed: Shop, undisturbed: Undisturbed, kind: str) -> None:
    server = undisturbed.server
    for path in undisturbed.server.pictures or {}:
        server.heal(path)
    with Add(undisturbed.catalog) as add:
        add.wait_until(lambda: _memos(disturbed, kind) >= 5)
        os.killpg(add.process.pid, signal.SIGKILL)
        add.process.wait()
        made = _memos(disturbed, kind) if kind == "detections" else _remembered_vectors(disturbed)
        requests = len(server.requests)
        report = _go_on(disturbed, undisturbed)
    assert len(server.requests) == requests
    assert report["total"]["fetched"] == 0
    if kind == "detections":
        assert report["total"]["detected"] == PRODUCTS - made
    else:
        assert report["total"]["detected"] == 0
        assert report["total"]["embedded"] == len({crop for _, crop, _ in undisturbed.end_state["items"]}) - made
