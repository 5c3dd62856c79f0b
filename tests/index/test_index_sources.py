"""What the batches give to an index, asked again and again as a sensor does."""

import pytest
from support.fault_server import FaultServer, status
from support.shops import Shop, rows_of

from vetrina.index import sources as module
from vetrina.index.outdated import outdated_batches
from vetrina.index.sources import CATALOGUED, index_sources


def _sources(shop: Shop) -> dict[str, str]:
    deployment = shop.deployment
    return index_sources(deployment.store, deployment.extractor.embeddings_fingerprint(deployment.detector))


def test_asking_again_sees_every_change_and_opens_nothing_that_stayed(
    shop: Shop, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fail("/box.png", status(503))
    first = shop.register(shop.catalog("spring", rows_of(server, ["oak-chair", "box"])))
    second = shop.register(shop.catalog("summer", rows_of(server, ["bootie"])))
    assert _sources(shop) == {}
    shop.work(first)
    one = _sources(shop)
    assert set(one) == {first.key}
    shop.work(second)
    two = _sources(shop)
    assert two == {**one, second.key: two[second.key]}

    opened: list[str] = []
    real = module.read_metadata
    monkeypatch.setattr(module, "read_metadata", lambda store, path: (opened.append(path), real(store, path))[1])
    assert _sources(shop) == two
    assert opened == []
    server.heal("/box.png")
    shop.work(first)  # its embeddings are replaced
    three = _sources(shop)
    assert three[first.key] != two[first.key]
    assert three[second.key] == two[second.key]
    assert len(opened) == 1


def test_what_is_known_from_before_is_what_a_new_process_reads(shop: Shop, server: FaultServer) -> None:
    for name, products in (("spring", ["oak-chair"]), ("summer", ["bootie"])):
        shop.work(shop.register(shop.catalog(name, rows_of(server, products))))
        _sources(shop)
    known = _sources(shop)
    module._KNOWN.clear()
    assert _sources(shop) == known


def test_batches_of_other_settings_are_outdated_and_those_never_embedded_are_not(
    shop: Shop, server: FaultServer
) -> None:
    first = shop.register(shop.catalog("spring", rows_of(server, ["oak-chair"])))
    shop.work(first)
    shop.register(shop.catalog("summer", rows_of(server, ["bootie"])))
    assert shop.deployment.outdated() == []
    shop.set(MIN_SCORE="0.9")
    assert shop.deployment.outdated() == [first]
    assert _sources(shop) == {first.key: CATALOGUED}
    shop.work(first)
    assert outdated_batches(shop.deployment.store, "some-other-model") == [first]
    assert shop.deployment.outdated() == []
