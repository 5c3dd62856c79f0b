"""The number of dimensions that is chosen: the fewest whose neighbours agree with those of all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from index_samples import Item, built, table, unit

from resources.configured import index_of
from vetrina.errors import SettingError
from vetrina.index.dimensions import AGREEMENT, candidates, choose_dims
from vetrina.index.manifest import Manifest, version_of
from vetrina.index.projection import Moments, to_index_space, unit_rows
from vetrina.index.settings import AUTO, IndexSettings
from vetrina.index.wanted import is_made_of
from vetrina.settings import Settings

CHOSEN = IndexSettings(projection_dims=AUTO)


def fading(items: int, dims: int, fade: float, *, seed: int = 0) -> np.ndarray:
    """Unit rows with less variance in each further direction: float32 [items, dims]."""
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.standard_normal((dims, dims)))[0]
    return unit((rng.standard_normal((items, dims)) * fade ** np.arange(dims)) @ turned + 0.1)


def as_items(vectors: np.ndarray) -> list[Item]:
    """Two items to a product, a whole picture and a crop."""
    kinds = [("whole", None, None), ("crop", "Chair", 0.5)]
    return [(f"p{row // 2:04d}", f"c{row}", *kinds[row % 2], vector) for row, vector in enumerate(vectors)]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return fading(700, 200, 0.96)


@pytest.fixture(scope="module")
def manifest(vectors: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return built(as_items(vectors), tmp_path_factory.mktemp("chosen"), CHOSEN)


def test_the_fewest_dimensions_that_agree_are_chosen_and_all_that_were_tried_are_told(manifest: Manifest) -> None:
    frontier = manifest.dims_choice["frontier"]
    assert [tried["dims"] for tried in frontier] == [32, 48, 64, 96, 128]
    enough = [tried["dims"] for tried in frontier if tried["lower_95"] >= AGREEMENT]
    assert manifest.dims == min(enough) and len(enough) < len(frontier), frontier
    for name in ("agreement", "lower_95", "variance_kept"):
        values = [tried[name] for tried in frontier]
        assert values == sorted(values) and values[0] > 0 and values[-1] <= 1
    chosen = next(tried for tried in frontier if tried["dims"] == manifest.dims)
    assert manifest.projection == {"dims": manifest.dims, "variance_kept": chosen["variance_kept"]}
    assert (manifest.dims_choice["met"], manifest.dims_choice["target"]) == (True, AGREEMENT)
    assert (manifest.dims_choice["k"], manifest.dims_choice["queries"], manifest.projection_note) == (10, 400, "")


def test_the_agreement_is_that_of_plain_loops(vectors: np.ndarray) -> None:
    moments = Moments(vectors.shape[1])
    moments.add(unit_rows(vectors))
    projections = moments.projections([32, 96])
    blocks = [vectors[at : at + 97] for at in range(0, len(vectors), 97)]
    choice = choose_dims(blocks, vectors[:50], projections, len(vectors), 7)
    centred = unit(unit_rows(vectors) - projections[0].mean).astype(np.float64)
    for projection, tried in zip(projections, choice.frontier, strict=True):
        small = to_index_space(vectors, projection).astype(np.float64)
        shares = []
        for row in range(50):
            others = np.delete(np.arange(len(vectors)), row)
            near, true = (others[np.argsort(-(space[others] @ space[row]))[:7]] for space in (small, centred))
            shares.append(len(set(near) & set(true)) / 7)
        assert tried.agreement == pytest.approx(np.mean(shares), abs=1e-9)
        assert tried.lower < tried.agreement


def test_what_is_chosen_depends_neither_on_the_order_nor_on_the_pieces(
    vectors: np.ndarray, manifest: Manifest, tmp_path: Path
) -> None:
    items = as_items(vectors)
    mixed = [items[at] for at in np.random.default_rng(3).permutation(len(items))]
    other = built([table(mixed[at : at + 150]) for at in range(0, len(mixed), 150)], tmp_path, CHOSEN)
    assert other.dims_choice == manifest.dims_choice
    assert other.files == manifest.files and version_of(other) == version_of(manifest)
    kept = Manifest.from_bytes(manifest.to_bytes())
    assert is_made_of(kept, manifest.sources, manifest.fingerprints, CHOSEN), "it would be built again and again"
    assert not is_made_of(kept, manifest.sources, manifest.fingerprints, IndexSettings(projection_dims=manifest.dims))


def test_the_same_number_set_by_hand_gives_the_same_files_and_tells_of_no_choice(
    vectors: np.ndarray, manifest: Manifest, tmp_path: Path
) -> None:
    fixed = built(as_items(vectors), tmp_path, IndexSettings(projection_dims=manifest.dims))
    assert fixed.files == manifest.files and fixed.dims_choice == {}
    # The settings differ, and with them the version: a shop whose setting changed is built again.
    assert version_of(fixed) != version_of(manifest)


def test_copies_of_one_picture_agree_in_any_number_of_dimensions(tmp_path: Path) -> None:
    few = np.repeat(fading(14, 60, 1.0, seed=2), 20, axis=0)
    manifest = built(as_items(few), tmp_path, CHOSEN)
    assert manifest.dims == 32
    assert manifest.dims_choice["frontier"][0]["agreement"] == 1.0


def test_where_none_agrees_the_most_are_taken_and_it_is_said(tmp_path: Path) -> None:
    manifest = built(as_items(fading(260, 300, 1.0)), tmp_path, CHOSEN)
    assert (manifest.dims, manifest.dims_choice["met"]) == (64, False)
    assert manifest.dims_choice["queries"] == 260
    assert [tried["lower_95"] == tried["agreement"] for tried in manifest.dims_choice["frontier"]] == [True] * 3
    assert manifest.projection_note == "no number of dimensions that 260 items can estimate agrees enough"


@pytest.mark.parametrize(
    ("items", "dims", "note"),
    [
        (120, 60, "120 items are too few to estimate 32 dimensions"),
        (200, 24, "the vectors have 24 dimensions, not more than 32"),
    ],
)
def test_where_there_is_nothing_to_choose_all_are_kept(items: int, dims: int, note: str, tmp_path: Path) -> None:
    manifest = built(as_items(fading(items, dims, 0.9)), tmp_path, CHOSEN)
    assert (manifest.projection, manifest.dims_choice, manifest.projection_note) == (None, {}, note)
    assert manifest.dims == dims


def test_vectors_that_do_not_vary_are_not_projected(tmp_path: Path) -> None:
    same = np.repeat(unit(np.ones((1, 60))), 200, axis=0)
    manifest = built(as_items(same), tmp_path, CHOSEN)
    assert (manifest.projection, manifest.projection_note) == (None, "the vectors do not vary")


def test_no_more_dimensions_are_tried_than_items_and_vectors_allow() -> None:
    assert candidates(127, 1280) == []
    assert candidates(128, 1280) == [32]
    assert candidates(10_000, 96) == [32, 48, 64]
    assert candidates(1_000_000, 1280)[-1] == 512


def test_a_manifest_of_before_dimensions_were_chosen_is_read(manifest: Manifest) -> None:
    value = json.loads(manifest.to_bytes())
    assert value.pop("dims_choice")
    older = Manifest.from_bytes(json.dumps(value).encode())
    assert older.dims_choice == {} and version_of(older) == version_of(manifest)


@pytest.mark.parametrize(("text", "dims"), [("auto", AUTO), ("0", None), ("64", 64), ("", 128)])
def test_the_setting_is_a_number_or_auto(text: str, dims: object) -> None:
    settings = Settings.from_environment({"VETRINA_PROJECTION_DIMS": text})
    assert index_of(settings).settings().projection_dims == dims


@pytest.mark.parametrize("text", ["many", "-1", "1.5"])
def test_another_setting_is_refused_with_what_may_stand_there(text: str) -> None:
    with pytest.raises(SettingError, match=r"^VETRINA_PROJECTION_DIMS is .*; use a number of dimensions, 0 \(all\)"):
        Settings.from_environment({"VETRINA_PROJECTION_DIMS": text})
