"""Crops of several pictures in one call of an extractor that wants batches: nothing else changes."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from support.extractors import Colours

from vetrina.catalog.batches import Batch, register_batch
from vetrina.catalog.shop import catalogue_batch
from vetrina.detection.crops import Selection
from vetrina.detection.detector import Detections
from vetrina.detection.labelling import label_pictures
from vetrina.embedding import vectors as module
from vetrina.embedding.vectors import EmbeddingsReport, embed_crops, embeddings_fingerprint, embeddings_path
from vetrina.pictures.collecting import collect_pictures
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.fetching import Fetcher
from vetrina.store import Store, blob_path
from vetrina.tables import IMAGES, embeddings_schema, read_metadata, read_rows

PICTURES = Path(__file__).parent.parent / "data" / "pictures"
COUNT = 12


class Middle:
    """A detector that finds one thing in the middle of every picture."""

    handle, fingerprint, vocabulary, default_min_score = "test:middle", "3" * 16, ("Chair",), 0.5

    def detect(self, pixels: np.ndarray) -> Detections:
        return Detections(np.array([[0.2, 0.2, 0.8, 0.8]], np.float32), np.ones(1, np.float32), ("Chair",))


class Batches(Colours):
    """Colours, in batches; remembers how many pictures came together."""

    def __init__(self, batch: int) -> None:
        self.batch = batch  # type: ignore[misc]
        self.calls: list[int] = []

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        self.calls.append(len(pictures))
        return super().embed(pictures)


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    with DecoderPool(1) as decoders:
        yield decoders


class Labelled:
    """A store with one batch of twelve pictures, two crops each, labelled and not embedded."""

    def __init__(self, folder: Path, decoders: DecoderPool) -> None:
        self._decoders = decoders
        self.store = Store(folder / "store")
        catalog = folder / "twelve.csv"
        for file in PICTURES.glob("*.png"):
            (folder / file.name).write_bytes(file.read_bytes())
        catalog.write_text("id,path\n" + "".join(f"{file.stem},{file.name}\n" for file in PICTURES.glob("*.png")))
        self.batch: Batch = register_batch(self.store, str(catalog))[0]
        catalogue_batch(self.store, self.batch)
        with Fetcher() as fetcher:
            collect_pictures(self.store, self.batch, fetcher, decoders)
        selection = Selection(frozenset({"Chair"}), 0.5, 3, 0.01)
        label_pictures(self.store, self.batch, Middle(), selection, decoders, workers=1)
        self.labels = selection.fingerprint(Middle())

    def embed(self, extractor: Colours, workers: int = 2) -> EmbeddingsReport:
        self.progress: list[tuple[int, int]] = []
        return embed_crops(
            self.store,
            self.batch,
            self.labels,
            extractor,
            self._decoders,
            workers=workers,
            progress=lambda done, total: self.progress.append((done, total)),
        )

    @property
    def path(self) -> str:
        return embeddings_path(self.batch, embeddings_fingerprint(self.labels, Batches(1)))

    def vectors(self) -> dict[str, np.ndarray]:
        rows = read_rows(self.store, self.path, embeddings_schema(Colours.dims))
        return {row["crop_id"]: np.array(row["vector"], np.float32) for row in rows}

    def spoil(self, product: str) -> None:
        """Make a collected picture unreadable."""
        rows = {row["product_id"]: row for row in read_rows(self.store, self.batch.path("images.parquet"), IMAGES)}
        self.store.write(blob_path(rows[product]["sha256"]), b"no picture at all")


@pytest.fixture
def labelled(tmp_path: Path, decoders: DecoderPool) -> Labelled:
    return Labelled(tmp_path, decoders)


@pytest.mark.parametrize("workers", [1, 3])
def test_crops_of_several_pictures_come_together_and_their_vectors_are_those_of_one_by_one(
    labelled: Labelled, tmp_path: Path, decoders: DecoderPool, workers: int
) -> None:
    together, alone = Batches(8), Batches(1)
    report = labelled.embed(together, workers)
    assert (report.embedded, report.reused, report.unreadable) == (2 * COUNT, 0, 0)
    assert together.calls == [8, 8, 8]
    (tmp_path / "other").mkdir()
    other = Labelled(tmp_path / "other", decoders)
    other.embed(alone)
    assert alone.calls == [2] * COUNT, "an extractor without batches gets each picture as it comes"
    one, many = other.vectors(), labelled.vectors()
    assert len(many) == 2 * COUNT and one.keys() == many.keys()
    assert all(np.array_equal(one[crop], many[crop]) for crop in one)


def test_the_last_batch_may_be_smaller(labelled: Labelled) -> None:
    extractor = Batches(10)
    labelled.embed(extractor)
    assert extractor.calls == [10, 10, 4]


def test_one_unreadable_picture_costs_its_crops_and_not_those_of_its_batch(labelled: Labelled) -> None:
    labelled.spoil("box")
    extractor = Batches(32)
    report = labelled.embed(extractor)
    assert (report.embedded, report.unreadable) == (2 * COUNT - 2, 1)
    assert sum(extractor.calls) == 2 * COUNT - 2
    assert len(labelled.vectors()) == 2 * COUNT - 2
    notes = read_metadata(labelled.store, labelled.path)
    assert notes is not None and len(notes["unreadable"]) == 1


def test_a_picture_is_remembered_by_itself_however_it_came(labelled: Labelled) -> None:
    labelled.embed(Batches(32))
    labelled.store.delete(labelled.path)
    extractor = Batches(32)
    report = labelled.embed(extractor)
    assert (report.embedded, report.reused, extractor.calls) == (0, 2 * COUNT, [])


def test_progress_counts_every_crop(labelled: Labelled) -> None:
    labelled.embed(Batches(8))
    done = [done for done, _ in labelled.progress]
    assert done == sorted(done) and labelled.progress[-1] == (2 * COUNT, 2 * COUNT) and len(done) == COUNT


def test_large_pictures_do_not_wait_for_a_full_batch(labelled: Labelled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIXELS", 1)
    extractor = Batches(32)
    labelled.embed(extractor, workers=1)
    assert extractor.calls == [2] * COUNT
