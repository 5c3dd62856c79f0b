from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_samples import PLAIN, Item, built, opened, shop, unit

from vetrina.errors import IndexDamaged
from vetrina.index.cell_tuning import FEW, needed_share, tune_cells
from vetrina.index.cells import Cells, build_cells, grouped
from vetrina.index.reader import open_folder
from vetrina.index.scoring import ROUNDING
from vetrina.index.settings import IndexSettings

COUNT, DIMS = 6000, 16


def clustered(count: int, dims: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, dims))
    return unit(centres[rng.integers(40, size=count)] + 0.6 * rng.standard_normal((count, dims)))


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(COUNT, DIMS, 1)


@pytest.fixture(scope="module")
def cells(vectors: np.ndarray) -> Cells:
    return build_cells(vectors, 1)


@pytest.fixture(scope="module")
def many() -> list[Item]:
    """More items than are read at once, two large classes among them."""
    return shop(3000, 8, seed=4, crops=3)


@pytest.fixture(scope="module")
def folder(many: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    built(many, folder, IndexSettings(projection_dims=None, serve_with="annoy", recall_sample=100, recall_target=0.95))
    return folder


def test_an_item_is_in_the_cell_with_the_nearest_centre(vectors: np.ndarray, cells: Cells) -> None:
    assert len(cells.centres) == 154, "twice the root of the items"
    cosines = vectors @ cells.centres.T
    own = cosines[np.arange(COUNT), cells.cell_of]
    assert np.allclose(own, cosines.max(axis=1), atol=1e-6)
    used = np.unique(cells.cell_of)
    means = np.array([own[cells.cell_of == cell].mean() for cell in used])
    assert np.allclose(cells.nearness[used], means, atol=1e-6)
    assert np.allclose(np.linalg.norm(cells.centres, axis=1), 1.0, atol=1e-6)


def test_rounds_bring_the_centres_nearer_to_the_items(vectors: np.ndarray, cells: Cells) -> None:
    drawn = vectors[np.random.default_rng(1).choice(COUNT, len(cells.centres), replace=False)]
    moved = (vectors @ cells.centres.T).max(axis=1).mean()
    assert moved > (vectors @ drawn.T).max(axis=1).mean() + 0.01


def test_cells_are_the_same_whenever_they_are_built(vectors: np.ndarray, tmp_path: Path) -> None:
    for name in ("a", "b"):
        build_cells(vectors, 3).save(tmp_path / f"{name}.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    loaded = Cells.load(tmp_path / "a.npz", COUNT, DIMS)
    assert (loaded.centres == build_cells(vectors, 3).centres).all()


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**6), nearness=st.floats(0.0, 1.0), dims=st.integers(2, 8))
def test_a_whole_share_promises_what_the_item_right_before_the_query_has(seed: int, nearness: float, dims: int) -> None:
    rng = np.random.default_rng(seed)
    centre, query, direction = (unit(rng.standard_normal(dims)) for _ in range(3))
    cells = Cells(centre[None], np.array([nearness], np.float32), np.zeros(1, np.uint16))
    aside = direction.astype(float) - float(direction @ centre) * centre
    item = nearness * centre + np.sqrt(1 - nearness**2) * aside / np.linalg.norm(aside)
    cosine = float(item @ query / np.linalg.norm(item))
    assert cosine <= float(cells.promises(query[None], 1.0)[0, 0]) + 1e-4
    before = query.astype(float) - float(query @ centre) * centre
    item = nearness * centre + np.sqrt(1 - nearness**2) * before / np.linalg.norm(before)
    assert float(item @ query) == pytest.approx(float(cells.promises(query[None], 1.0)[0, 0]), abs=1e-3)
    assert float(cells.promises(query[None], 0.0)[0, 0]) == pytest.approx(nearness * float(centre @ query), abs=1e-5)


def test_a_needed_share_is_the_one_at_which_a_cell_promises_the_score(vectors: np.ndarray, cells: Cells) -> None:
    queries = vectors[:5]
    scores = np.linspace(0.3, 0.9, 5).astype(np.float32)
    needed = needed_share(cells, queries, scores)
    for share in (0.2, 0.5, 0.9):
        promised = cells.promises(queries, share) >= scores[:, None] - ROUNDING
        sure = np.abs(needed - share) > 1e-3
        assert ((needed <= share) == promised)[sure].all() and promised.any() and not promised.all()


def test_identical_and_opposite_items_have_cells_too() -> None:
    same = np.tile(unit(np.arange(1.0, 7.0)), (500, 1))
    cells = build_cells(same, 1)
    assert len(set(cells.cell_of.tolist())) == 1
    assert np.allclose(cells.nearness, 1.0, atol=1e-6)
    both = build_cells(np.concatenate([same[:4], -same[:4]]), 1)
    assert np.isfinite(both.centres).all() and np.isfinite(both.promises(same[:1], 0.7)).all()
    assert len(build_cells(same[:1], 1).centres) == 1


def test_items_by_cell_are_those_of_the_filter(cells: Cells) -> None:
    items = np.sort(np.random.default_rng(2).choice(COUNT, 900, replace=False))
    product_of = np.arange(COUNT) // 2
    found = grouped(cells, items, product_of)
    assert (found.items_in(np.arange(len(cells.centres))) == items).all()
    assert found.products == len(set((items // 2).tolist()))
    some = np.array([7, 3, 90])
    assert found.items_in(some).tolist() == items[np.isin(cells.cell_of[items], some)].tolist()
    assert grouped(cells, items[:0], product_of).products == 0


def test_the_share_meets_the_target_for_questions_that_were_not_measured(vectors: np.ndarray, cells: Cells) -> None:
    labels = np.where(vectors[:, 0] > -0.35, 4, -1)
    assert np.count_nonzero(labels == 4) > FEW
    low, high = (tune_cells(vectors, labels, cells, IndexSettings(recall_target=target)) for target in (0.9, 0.99))
    assert low.share < high.share
    assert [entry["label"] for entry in high.filters] == ["all items", 4]
    assert all(entry["lower_95"] >= 0.99 and entry["read"] < 0.9 for entry in high.filters)
    assert high.filters[1]["items"] == np.count_nonzero(labels == 4)
    asked = clustered(300, DIMS, 1)[::-1]  # around the same centres
    members = np.flatnonzero(labels == 4)
    cosines = asked @ vectors[members].T
    order = np.argsort(-cosines, axis=1)[:, :10]
    kth = np.take_along_axis(cosines, order, axis=1)[:, -1]
    promised = cells.promises(asked, high.share) >= kth[:, None] - ROUNDING
    assert np.take_along_axis(promised, cells.cell_of[members[order]].astype(int), axis=1).mean() >= 0.985


def test_a_target_out_of_reach_takes_the_share_that_finds_everything(vectors: np.ndarray, cells: Cells) -> None:
    few = IndexSettings(recall_sample=20, recall_target=0.999)  # no 20 questions can prove that
    tuned = tune_cells(vectors, np.full(COUNT, -1), cells, few)
    assert tuned.filters[0]["recall"] == 1.0


def test_a_build_of_more_items_than_are_read_at_once_has_cells(folder: Path, many: list[Item]) -> None:
    index = open_folder(folder)
    stated = index.manifest.cells
    assert index.cells is not None and len(many) > FEW
    assert stated["count"] == len(index.cells.centres) and 0 < stated["share"] < 10
    labels = {entry["label"] for entry in stated["filters"]}
    assert "all items" in labels and labels <= {"all items", *index.rows.labels, "1/8 around an item"}
    assert "cells.npz" in index.manifest.files


def test_a_small_index_has_none(tmp_path: Path) -> None:
    index = opened(shop(50, 6), tmp_path)
    assert index.cells is None and index.manifest.cells == {} and not (tmp_path / "cells.npz").exists()


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The folder, to be spoilt."""
    return shutil.copytree(folder, tmp_path / "copy")


def without(folder: Path, *places: str) -> None:
    """Take entries out of a folder's manifest, of the manifest itself or of its files."""
    manifest = folder / "manifest.json"
    value = json.loads(manifest.read_bytes())
    for place in places:
        del (value["files"] if place in value["files"] else value)[place]
    manifest.write_text(json.dumps(value))


def test_an_altered_or_missing_file_of_cells_is_refused(copy: Path) -> None:
    file = copy / "cells.npz"
    before = file.read_bytes()
    file.write_bytes(before[:-9] + bytes([before[-9] ^ 1]) + before[-8:])
    with pytest.raises(IndexDamaged, match=r"cells\.npz is altered"):
        open_folder(copy)
    file.unlink()
    with pytest.raises(IndexDamaged, match=r"cells\.npz cannot be read"):
        open_folder(copy)


def test_cells_that_the_manifest_has_but_its_files_lack_are_refused(copy: Path) -> None:
    without(copy, "cells.npz")
    with pytest.raises(IndexDamaged, match=r"does not list cells\.npz"):
        open_folder(copy)


def test_an_index_of_before_there_were_cells_opens_without(copy: Path) -> None:
    without(copy, "cells.npz", "cells")
    assert open_folder(copy).cells is None


@pytest.mark.parametrize(("items", "dims"), [(COUNT + 1, DIMS), (COUNT, DIMS + 1)])
def test_cells_of_other_items_are_refused(cells: Cells, tmp_path: Path, items: int, dims: int) -> None:
    cells.save(tmp_path / "cells.npz")
    with pytest.raises(IndexDamaged, match=r"cells\.npz are of other items than the index holds"):
        Cells.load(tmp_path / "cells.npz", items, dims)


def test_a_file_that_holds_no_cells_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cells.npz").write_bytes(b"not an archive")
    with pytest.raises(IndexDamaged, match=r"cells\.npz cannot be read"):
        Cells.load(tmp_path / "cells.npz", COUNT, DIMS)
    np.savez(tmp_path / "cells.npz", centres=np.eye(3, dtype=np.float32))
    with pytest.raises(IndexDamaged, match=r"cells\.npz cannot be read"):
        Cells.load(tmp_path / "cells.npz", COUNT, DIMS)


def test_a_build_that_goes_on_after_an_interrupted_one_leaves_no_old_cells(tmp_path: Path) -> None:
    (tmp_path / "cells.npz").write_bytes(b"left over")
    built(shop(30, 6), tmp_path, PLAIN)
    assert not (tmp_path / "cells.npz").exists()
