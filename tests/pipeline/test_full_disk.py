"""A disk that fills while the index is built: one sentence, and the former index goes on serving."""

import pytest
from support.disk import disk_with_room_for
from support.fault_server import FaultServer
from support.shops import Shop, rows_of

from vetrina.errors import StoreError
from vetrina.index.publishing import publish_index
from vetrina.index.versions import current


def test_an_index_that_finds_no_room_leaves_the_former_one_and_no_scratch(shop: Shop, server: FaultServer) -> None:
    shop.work(shop.register(shop.catalog("spring", rows_of(server, ["oak-chair", "white-chair"]))))
    shop.publish()
    store = shop.deployment.store
    former = current(store)
    shop.work(shop.register(shop.catalog("summer", rows_of(server, ["box", "bootie", "slippers", "umbrella"]))))
    wanted = shop.deployment.wanted()
    with pytest.raises(StoreError, match=r"no room for work in progress.*free some"), disk_with_room_for(20_000):
        publish_index(store, wanted.fingerprints["embeddings"], wanted.settings, wanted.fingerprints)
    assert current(store) == former
    assert store.names("scratch") == []
    assert shop.publish().metadata["similarity_index"]["products"] == 6
