"""The pipeline on a store at s3://, against a real S3 server on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fault_server import FaultServer
from support.s3_server import S3Server
from support.shops import NOTHING, Shop, cost, opened_shop, rows_of

from orchestration.answers import shop_status
from vetrina.catalog.batches import list_batches
from vetrina.index.versions import rollback

FIRST = ["oak-chair", "white-chair", "coffee-cup"]
SECOND = ["box", "bootie"]


@pytest.fixture
def cloud(s3: S3Server, tmp_path: Path, bundled_models: None) -> Iterator[Shop]:
    """An empty shop whose store is in the bucket."""
    with opened_shop(tmp_path / "shop") as shop:
        shop.set(STORE="s3://shop/some/prefix")
        yield shop


def test_a_shop_lives_in_a_bucket(cloud: Shop, server: FaultServer, s3: S3Server) -> None:
    catalog = cloud.catalog("spring", rows_of(server, FIRST))
    first = cloud.add(catalog)
    assert first["failed"] == []
    assert first["total"] == {
        "fetched": 3,
        "detected": 3,
        "embedded": first["total"]["embedded"],
        "reused": 0,
        "kept": 0,
    }
    assert set(cloud.similar("oak-chair")) == {"white-chair", "coffee-cup"}

    # The same again costs nothing.
    (batch,) = list_batches(cloud.deployment.store)
    assert cost(cloud.work(batch)) == NOTHING
    again = cloud.add(catalog)
    assert (again["total"]["fetched"], again["total"]["detected"], again["published"]["built"]) == (0, 0, False)
    assert max(server.counts.values()) == 1

    # A second batch, and its index.
    second = cloud.add(cloud.catalog("summer", rows_of(server, SECOND)))
    assert second["total"]["detected"] == len(SECOND)
    assert set(cloud.similar("box")) == {*FIRST, "bootie"}
    status = shop_status(cloud.deployment, 20)
    assert (status["rows"], status["damaged"]) == (5, [])
    assert status["index"]["products"] == 5

    # And back.
    assert rollback(cloud.deployment.store).version == first["published"]["version"]
    assert shop_status(cloud.deployment, 20)["index"]["products"] == 3
    assert set(cloud.similar("box")) == {*FIRST, "bootie"}  # not in the index, and searched all the same

    # Everything lies under the prefix, and nothing in the folder of the process.
    assert all(key.startswith("some/prefix/") for key in s3.stored())
    assert not (cloud.folder / "store").exists()


def test_a_store_in_a_bucket_ends_as_one_in_a_folder_does(cloud: Shop, server: FaultServer, tmp_path: Path) -> None:
    catalog = cloud.catalog("spring", [*rows_of(server, FIRST), {"id": "gone", "url": server.url("/gone.png")}])
    cloud.add(catalog)
    in_bucket = cloud.end_state()
    cloud.set(STORE=tmp_path / "folder")
    cloud.add(catalog)
    assert cloud.end_state() == in_bucket
