"""How many requests the catalog's records take as batches add up."""

from pathlib import Path

import pytest
from support.s3_server import S3Server

from vetrina.catalog import batches as batches_module
from vetrina.catalog.batches import list_batches, register_batch
from vetrina.catalog.shop import catalogue_batch, shop_after
from vetrina.store import Store


def test_another_batch_costs_no_more_requests_than_the_one_before(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store("s3://shop/p")
    costs = []
    for number in range(12):
        file = tmp_path / f"c{number}.csv"
        file.write_text(f"id,url\n{number},a.png\n")
        before = s3.count()
        catalogue_batch(store, register_batch(store, str(file))[0])
        costs.append(s3.count() - before)
    assert costs[-1] <= costs[1] + 1
    assert len(shop_after(store, 12)) == 12
    # A process that knows nothing yet reads each record once, and from then on looks for the next one only.
    monkeypatch.setattr(batches_module, "_LISTED", {})
    before = s3.count("GET", "/sequence/0")
    assert len(list_batches(store)) == len(list_batches(store)) == 12
    assert s3.count("GET", "/sequence/0") - before == 13
