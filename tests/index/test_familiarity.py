"""The floor of likeness: what it estimates, what it lets through, and when there is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from index_samples import PLAIN, opened, shop, table, unit

from vetrina.index.familiarity import FALSE_SHARE, calibrated, likeness, sample_of_products
from vetrina.index.manifest import MANIFEST, Manifest
from vetrina.index.projection import Moments, Projection, to_index_space, unit_rows
from vetrina.index.reader import open_folder
from vetrina.index.rows import read_blocks
from vetrina.index.settings import IndexSettings

DIMS, KEPT = 60, 8


def goods(count: int, seed: int, *, axes: int = KEPT) -> np.ndarray:
    """Vectors around one direction that vary in a few others, and a little everywhere."""
    rng = np.random.default_rng(seed)
    vectors = 0.02 * rng.standard_normal((count, DIMS))
    vectors[:, 0] += 1.0
    vectors[:, 1 : 1 + axes] += 0.25 * rng.standard_normal((count, axes))
    return unit(vectors)


def projected(vectors: np.ndarray, dims: int = KEPT) -> Projection:
    moments = Moments(vectors.shape[1])
    moments.add(unit_rows(vectors))
    found = moments.projection(dims)
    assert found is not None
    return found


def judged(asking: np.ndarray, own: np.ndarray, projection: Projection | None, length: float) -> np.ndarray:
    left, right = to_index_space(asking, projection), to_index_space(own, projection)
    return likeness(asking, -np.sort(-(left @ right.T), axis=1)[:, 9].astype(np.float64), projection, length)


def test_likeness_is_near_the_cosine_that_the_extractor_gives_the_tenth_nearest() -> None:
    own, asking = goods(400, seed=1), goods(60, seed=2)
    projection = projected(own)
    found = judged(asking, own, projection, calibrated(own, projection)["length"])
    true = -np.sort(-(asking @ own.T), axis=1)[:, 9]
    assert np.abs(found - true).max() < 0.12
    assert np.corrcoef(found, true)[0, 1] > 0.9


def test_in_the_extractors_own_space_the_score_is_the_likeness() -> None:
    scores = np.array([0.3, 0.9])
    assert (likeness(goods(2, seed=1), scores, None, 1.0) == scores).all()


@pytest.mark.parametrize("projecting", [True, False])
def test_strange_vectors_lie_below_the_floor_and_few_others_do(projecting: bool) -> None:
    own = goods(600, seed=1)
    projection = projected(own) if projecting else None
    stated = calibrated(own, projection)
    assert (stated["queries"], stated["note"], stated["nth"]) == (600, "", 10)
    strange = unit(np.random.default_rng(3).standard_normal((200, DIMS)))
    assert (judged(strange, own, projection, stated["length"]) < stated["floor"]).mean() > 0.95
    assert (judged(goods(600, seed=4), own, projection, stated["length"]) < stated["floor"]).mean() < 3 * FALSE_SHARE


def test_products_are_held_out_so_that_a_projection_cannot_flatter_its_own() -> None:
    # Many directions, few products: what a projection was fitted on keeps more of its length than a new product.
    own, fresh = goods(240, seed=1, axes=50), goods(2000, seed=2, axes=50)
    projection = projected(own, 30)
    stated = calibrated(own, projection)
    flattered = np.quantile(judged(own, own, projection, stated["length"]), FALSE_SHARE)
    assert stated["floor"] < flattered
    assert (judged(fresh, own, projection, stated["length"]) < stated["floor"]).mean() < 3 * FALSE_SHARE


def test_too_few_products_and_products_all_alike_give_no_floor() -> None:
    few = calibrated(goods(199, seed=1), None)
    assert few["floor"] is None
    assert few["note"] == "199 products are too few to calibrate it; 200 are needed"
    assert calibrated(np.zeros((0, 0), np.float32), None)["floor"] is None
    alike = calibrated(np.tile(goods(1, seed=1), (300, 1)), projected(goods(300, seed=1)))
    assert (alike["floor"], alike["note"]) == (None, "the products do not vary")


def test_the_sample_is_the_same_in_any_order_and_holds_whole_pictures_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vetrina.index.familiarity._MOST", 50)
    items = shop(80, 12, seed=2, crops=2)
    samples = []
    for parts in ([items], [items[90:], items[:90]], [items[::-1]]):
        sample = sample_of_products()
        for block in read_blocks(table(part) for part in parts):
            sample.add(block)
        samples.append(sample.vectors)
    assert samples[0].shape == (50, 12)
    assert (samples[0] == samples[1]).all()
    assert (samples[0] == samples[2]).all()
    whole = {item[5].tobytes() for item in items if item[2] == "whole"}
    assert {vector.tobytes() for vector in samples[0]} <= whole


def test_an_index_states_its_floor_and_one_of_before_is_opened_without(tmp_path: Path) -> None:
    index = opened(shop(300, 40, seed=1), tmp_path, IndexSettings(projection_dims=16))
    stated = index.manifest.nothing_similar
    assert -1 < stated["floor"] < 1
    assert 0 < stated["length"] <= 1
    assert Manifest.from_bytes(index.manifest.to_bytes()) == index.manifest
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    del manifest["nothing_similar"]
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    older = open_folder(tmp_path)
    assert older.manifest.nothing_similar == {}
    assert older.version == index.version


def test_a_small_index_says_why_it_has_none(tmp_path: Path) -> None:
    stated = opened(shop(30, 8, seed=1), tmp_path, PLAIN).manifest.nothing_similar
    assert stated["floor"] is None
    assert "30 products are too few" in stated["note"]
