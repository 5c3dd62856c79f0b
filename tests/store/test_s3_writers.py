"""Several processes at one store in a bucket: nothing is lost, nothing is there twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.s3_server import S3Server

from vetrina.catalog.batches import list_batches
from vetrina.index.versions import current, history, open_index
from vetrina.store import Store

PROCESSES = 3

REGISTER = """
import sys
from vetrina.catalog.batches import register_batch
from vetrina.store import Store
store = Store("s3://shop/p")
sys.stdin.readline()
for number in range(4):
    batch, new = register_batch(store, f"{sys.argv[1]}/{sys.argv[2]}-{number}.csv")
    assert new
    shared, _ = register_batch(store, f"{sys.argv[1]}/shared-{number}.csv")
    print(batch.key, shared.key)
"""

PUBLISH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from index_samples import built, shop
from vetrina.index.versions import publish
from vetrina.store import Store
store = Store("s3://shop/p")
folder = Path(sys.argv[1]) / sys.argv[2]
own = built(shop(20, 4, seed=int(sys.argv[2])), folder / "own")
shared = built(shop(20, 4, seed=99), folder / "shared")
sys.stdin.readline()
print(publish(store, folder / "own", own).version)
print(publish(store, folder / "shared", shared).version)
"""


def at_once(code: str, *arguments: object) -> list[list[str]]:
    """Lines that processes print which run `code` at the same time, each with its number as second argument."""
    first, *others = map(str, arguments)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, first, str(number), *others],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    outputs = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        outputs.append(process.communicate(timeout=600)[0].splitlines())
        assert process.returncode == 0
    return outputs


@pytest.fixture
def store(s3: S3Server) -> Store:
    return Store("s3://shop/p")


def test_batches_registered_at_once_each_have_a_place(store: Store, tmp_path: Path) -> None:
    for number in range(4):
        for name in [*map(str, range(PROCESSES)), "shared"]:
            (tmp_path / f"{name}-{number}.csv").write_text(f"id,url\n{name}-{number},a.png\n")
    lines = [line.split() for output in at_once(REGISTER, tmp_path) for line in output]
    batches = list_batches(store)
    assert [batch.sequence for batch in batches] == list(range(1, len(batches) + 1))
    keys = [batch.key for batch in batches]
    assert len(keys) == len(set(keys)) == 4 * PROCESSES + 4
    assert {key for line in lines for key in line} == set(keys)
    for batch in batches:
        source = store.read(batch.path("source/catalog.csv")).decode()
        assert source.splitlines()[1].split(",")[0] == batch.catalog


def test_versions_published_at_once_are_all_there_and_one_is_current(store: Store, tmp_path: Path) -> None:
    outputs = at_once(PUBLISH, tmp_path, Path(__file__).parents[1] / "index")
    published = {version for output in outputs for version in output}
    records = history(store)
    assert [record.number for record in records] == list(range(len(records), 0, -1))
    assert {record.version for record in records} == published
    assert len(published) == PROCESSES + 1
    now = current(store)
    assert now == records[0]
    for record in records:
        assert open_index(store, record).rows.products == 20
    marks = [json.loads(store.read(f"index/published/{record.number:09d}.json"))["writer"] for record in records]
    assert len(set(marks)) == len(marks)
