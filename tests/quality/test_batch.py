"""Judgements over one batch, on tables made for them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.fault_server import FaultServer, status
from support.shops import Shop, rows_of

from resources.models import model_fingerprints
from vetrina.catalog.batches import Batch, register_batch
from vetrina.embedding.vectors import embeddings_path
from vetrina.errors import StoreError
from vetrina.quality.batch import judge_coverage, judge_fingerprints, judge_vectors
from vetrina.store import Store
from vetrina.tables import LABELS, TableWriter, embeddings_schema

MODELS = {"embeddings": "e" * 16, "labels": "l" * 16, "extractor": "x" * 16}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def batch(store: Store, tmp_path: Path) -> Batch:
    file = tmp_path / "spring.csv"
    file.write_text("id,url\n1,http://shop.example/1.png\n")
    return register_batch(store, str(file))[0]


def _embed(store: Store, batch: Batch, vectors: np.ndarray, **notes: str) -> None:
    dims = vectors.shape[1]
    schema = embeddings_schema(dims)
    rows = [
        {
            "product_id": f"p{n}",
            "sha256": "ab" * 32,
            "crop_id": f"c{n}",
            "kind": "whole",
            "label": None,
            "score": None,
            "ymin": 0.0,
            "xmin": 0.0,
            "ymax": 1.0,
            "xmax": 1.0,
        }
        for n in range(len(vectors))
    ]
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), type=schema.field(-1).type)
    table = pa.Table.from_pylist(rows, schema=LABELS).append_column(schema.field(-1), flat)
    made = {"digest": "d", "labels": MODELS["labels"], "extractor": MODELS["extractor"], "unreadable": {}, **notes}
    with TableWriter(store, embeddings_path(batch, MODELS["embeddings"]), schema, made) as writer:
        writer.add_table(table)


def test_sound_vectors_pass_and_each_kind_of_fault_is_counted_and_named(store: Store, batch: Batch) -> None:
    vectors = np.eye(6, 4, dtype=np.float32)
    vectors[4:] = [0.6, 0.8, 0, 0]
    _embed(store, batch, vectors)
    assert judge_vectors(store, batch, MODELS["embeddings"]).passed
    vectors[1, 2], vectors[2], vectors[3], vectors[5, 0] = np.nan, 0, [0, 0, 2, 0], np.inf
    _embed(store, batch, vectors)
    verdict = judge_vectors(store, batch, MODELS["embeddings"])
    assert not verdict.passed
    assert verdict.facts["faults"] == {"not finite": 2, "zero": 1, "not of length 1": 1}
    assert {text.split(" ")[0] for text in verdict.facts["examples"]} == {"p1", "p2", "p3", "p5"}
    assert batch.key in verdict.message


def test_float32_rounding_is_no_fault(store: Store, batch: Batch) -> None:
    raw = np.random.default_rng(0).standard_normal((3000, 1280))
    _embed(store, batch, raw / np.linalg.norm(raw, axis=1, keepdims=True))
    verdict = judge_vectors(store, batch, MODELS["embeddings"])
    assert verdict.passed
    assert verdict.facts["vectors"] == 3000


def test_vectors_of_another_extractor_or_of_other_labels_are_told(store: Store, batch: Batch) -> None:
    _embed(store, batch, np.eye(2))
    assert judge_fingerprints(store, batch, MODELS).passed
    _embed(store, batch, np.eye(2), extractor="someone-else")
    verdict = judge_fingerprints(store, batch, MODELS)
    assert not verdict.passed
    assert "extractor someone-else" in verdict.message
    assert "labels" not in verdict.message.split("was made with")[1].split(";")[0]


def test_missing_embeddings_are_an_error_with_a_way_out(store: Store, batch: Batch) -> None:
    with pytest.raises(StoreError, match="materialize the batch again"):
        judge_vectors(store, batch, MODELS["embeddings"])
    assert not judge_fingerprints(store, batch, MODELS).passed
    assert not judge_coverage(store, batch, MODELS["embeddings"], 0.8).passed


def test_coverage_counts_rejected_rows_and_failed_pictures_and_says_why(shop: Shop, server: FaultServer) -> None:
    server.fail("/box.png", status(404))
    rows = [*rows_of(server, ["oak-chair", "white-chair", "box"]), {"id": "", "url": server.url("/umbrella.png")}]
    batch = shop.register(shop.catalog("spring", rows))
    shop.work(batch)
    deployment = shop.deployment
    embeddings = model_fingerprints(deployment.detector, deployment.extractor)["embeddings"]
    assert judge_coverage(deployment.store, batch, embeddings, 0.5).passed
    verdict = judge_coverage(deployment.store, batch, embeddings, 0.51)
    assert not verdict.passed
    assert (verdict.facts["rows"], verdict.facts["searchable"]) == (4, 2)
    assert "1 × fetch_failed: http-404" in verdict.message
    assert len(verdict.facts["reasons"]) == 2


def test_a_batch_without_news_is_covered(shop: Shop, server: FaultServer) -> None:
    shop.work(shop.register(shop.catalog("spring", rows_of(server, ["box"]))))
    again = shop.register(shop.catalog("summer", rows_of(server, ["box"])))
    shop.work(again)
    deployment = shop.deployment
    embeddings = model_fingerprints(deployment.detector, deployment.extractor)["embeddings"]
    assert judge_coverage(deployment.store, again, embeddings, 1.0).passed
