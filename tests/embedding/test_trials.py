"""An extractor on trial: the shop embedded beside what is served."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from support.extractors import Colours
from support.fault_server import FaultServer
from support.shops import Shop, opened_shop, rows_of

from vetrina.catalog.batches import Batch
from vetrina.detection.labelling import labels_path
from vetrina.embedding.trials import (
    TrialCost,
    cost_of,
    embed_shop,
    not_embedded,
    note_trial,
    sample_crops,
    seconds_for_each,
    trials_since,
)
from vetrina.embedding.vectors import embeddings_fingerprint, embeddings_path
from vetrina.errors import ModelError
from vetrina.index.versions import history
from vetrina.pictures.decoders import DecoderPool
from vetrina.store import Store, blob_path
from vetrina.tables import LABELS, read_rows


@dataclass
class Worked:
    """A shop of two worked batches, of which two products show one picture; the store is the test's own."""

    shop: Shop
    server: FaultServer
    batches: list[Batch]
    store: Store

    @property
    def labels(self) -> str:
        return self.shop.deployment.detector.labels_fingerprint()

    @property
    def embeddings(self) -> str:
        return embeddings_fingerprint(self.labels, Colours())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def template(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Worked]:
    pictures = {f"/{name}.png": data for name, data in product_pictures.items()}
    with FaultServer(pictures) as server, opened_shop(tmp_path_factory.mktemp("trials")) as shop:
        twins = [{"id": "twin", "url": server.url("/box.png")}]
        catalogs = (rows_of(server, ["box", "oak-chair"]) + twins, rows_of(server, ["bootie"]))
        batches = [shop.register(shop.catalog(f"c{number}", rows)) for number, rows in enumerate(catalogs)]
        for batch in batches:
            shop.work(batch)
        yield Worked(shop, server, batches, shop.deployment.store)


@pytest.fixture
def worked(template: Worked, tmp_path: Path) -> Iterator[Worked]:
    shutil.copytree(template.store.root, tmp_path / "store")
    template.shop.set(STORE=tmp_path / "store")
    yield replace(template, store=Store(tmp_path / "store"))
    template.shop.set(STORE=template.store.root)


@pytest.fixture
def decoders() -> Iterator[DecoderPool]:
    with DecoderPool(1) as pool:
        yield pool


def crops_of(store: Store, batches: list[Batch], labels: str) -> list[str]:
    return [row["crop_id"] for batch in batches for row in read_rows(store, labels_path(batch, labels), LABELS)]


def test_every_batch_is_embedded_once_and_nothing_else_changes(worked: Worked, decoders: DecoderPool) -> None:
    store, labels, batches = worked.store, worked.labels, worked.batches
    before = {file.path: file.modified for file in store.walk("batches")}
    crops = crops_of(store, batches, labels)
    cost = cost_of(store, labels, Colours())
    assert cost == TrialCost(batches=2, crops=len(crops), to_embed=len(set(crops)))
    assert cost.to_embed < cost.crops  # the twins' crops are the same

    steps: list[tuple[int, int]] = []
    report = embed_shop(
        store, labels, Colours(), decoders, workers=1, progress=lambda done, total: steps.append((done, total))
    )
    assert (report.batches, report.crops, report.embedded, report.failed) == (2, len(crops), len(set(crops)), {})
    assert steps == sorted(steps)
    assert steps[-1] == (len(crops), len(crops))
    new = {file.path for file in store.walk("batches")} - before.keys()
    assert new == {embeddings_path(batch, worked.embeddings) for batch in batches}
    assert {path: file.modified for file in store.walk("batches") if (path := file.path) in before} == before
    assert history(store) == []

    assert cost_of(store, labels, Colours()) == TrialCost(0, 0, 0)
    assert embed_shop(store, labels, Colours(), decoders, workers=1).batches == 0


def test_a_trial_that_was_interrupted_goes_on_where_it_was(worked: Worked, decoders: DecoderPool) -> None:
    store, labels, batches = worked.store, worked.labels, worked.batches

    class Dying(Colours):
        left = 2

        def embed(self, pictures: object) -> np.ndarray:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return super().embed(pictures)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        embed_shop(store, labels, Dying(), decoders, workers=1)
    all_of_it = len(set(crops_of(store, batches, labels)))
    left = cost_of(store, labels, Colours()).to_embed
    assert 0 < left < all_of_it
    assert embed_shop(store, labels, Colours(), decoders, workers=1).embedded == left


def test_a_batch_that_arrives_meanwhile_is_embedded_too(worked: Worked, decoders: DecoderPool) -> None:
    store, labels = worked.store, worked.labels
    late: list[Batch] = []

    def arrive(done: int, total: int) -> None:
        if not late:
            late.append(worked.shop.register(worked.shop.catalog("late", rows_of(worked.server, ["umbrella"]))))
            worked.shop.work(late[0])

    report = embed_shop(store, labels, Colours(), decoders, workers=1, progress=arrive)
    assert report.batches == 3
    assert not_embedded(store, labels, Colours()) == []


def test_a_batch_that_fails_is_named_and_costs_the_others_nothing(worked: Worked, decoders: DecoderPool) -> None:
    store, labels, batches = worked.store, worked.labels, worked.batches
    store.write(labels_path(batches[0], labels), b"no table any more")
    assert cost_of(store, labels, Colours()).batches == 2
    report = embed_shop(store, labels, Colours(), decoders, workers=1)
    assert list(report.failed) == [batches[0].key]
    assert "cannot be read as Parquet" in report.failed[batches[0].key]
    assert report.batches == 1
    assert [batch.key for batch in not_embedded(store, labels, Colours())] == [batches[0].key]


def test_a_picture_that_is_gone_is_counted_and_ends_nothing(worked: Worked, decoders: DecoderPool) -> None:
    store, labels, batches = worked.store, worked.labels, worked.batches
    (row, *_) = read_rows(store, labels_path(batches[1], labels), LABELS)
    store.write(blob_path(row["sha256"]), b"no picture any more")
    report = embed_shop(store, labels, Colours(), decoders, workers=1)
    assert (report.batches, report.unreadable, report.failed) == (2, 1, {})


def test_a_model_that_cannot_be_used_ends_the_trial_with_its_own_words(worked: Worked, decoders: DecoderPool) -> None:
    store, labels = worked.store, worked.labels

    class Broken(Colours):
        def embed(self, pictures: object) -> np.ndarray:
            raise ModelError("The model gives no vector for a picture of 3 channels")

    with pytest.raises(ModelError, match="gives no vector"):
        embed_shop(store, labels, Broken(), decoders, workers=1)


def test_a_batch_that_the_detector_in_use_has_not_seen_waits(worked: Worked) -> None:
    store, labels, batches = worked.store, worked.labels, worked.batches
    store.delete(labels_path(batches[0], labels))
    assert [batch.key for batch in not_embedded(store, labels, Colours())] == [batches[1].key]


def test_crops_for_timing_come_from_the_whole_shop_and_are_the_same_each_time(
    worked: Worked, decoders: DecoderPool
) -> None:
    store, labels = worked.store, worked.labels
    first, again = (sample_crops(store, labels, 2, decoders) for _ in range(2))
    assert len(first) == 2
    assert {crop.dtype for crop in first} == {np.dtype(np.uint8)}
    assert sorted(crop.tobytes() for crop in first) == sorted(crop.tobytes() for crop in again)
    assert len(sample_crops(store, labels, 1000, decoders)) >= 4
    assert sample_crops(store, "no such labels", 5, decoders) == []
    assert seconds_for_each(Colours(), first, 2) > 0


def test_trials_are_known_for_as_long_as_they_are_recent(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert trials_since(store, datetime.now(UTC) - timedelta(days=1)) == []
    trial = note_trial(store, "1" * 16, Colours())  # type: ignore[arg-type]
    assert trials_since(store, datetime.now(UTC) - timedelta(days=1)) == [trial]
    assert trials_since(store, datetime.now(UTC) + timedelta(days=1)) == []
    assert trial.fingerprints["extractor"] == Colours.fingerprint
