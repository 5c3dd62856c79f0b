from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_samples import LABELS, ODD_IDS, PLAIN, Item, built, shop, table, unit

from vetrina.errors import IndexDamaged, SettingError, StoreError
from vetrina.index.annoy_file import AnnoyFile, build_file
from vetrina.index.build import build_index
from vetrina.index.manifest import Manifest, version_of
from vetrina.index.projection import Moments, to_index_space
from vetrina.index.reader import open_folder
from vetrina.index.rows import rows_from_tables
from vetrina.index.settings import IndexSettings, Penalties

FILES = ("vectors.npy", "items.parquet", "index.ann")


def test_the_same_items_in_any_order_and_any_pieces_give_the_same_bytes(tmp_path: Path) -> None:
    items = [*shop(200, 24, seed=1), *((i, f"c{i}", "crop", "Chair", 0.5, unit(np.ones(24))) for i in ODD_IDS)]
    settings = IndexSettings(projection_dims=8)
    first = built(items, tmp_path / "a", settings)
    rng = np.random.default_rng(5)
    for name, cuts in (("b", 1), ("c", 7), ("d", 60)):
        mixed = [items[at] for at in rng.permutation(len(items))]
        pieces = [table(mixed[at : at + len(items) // cuts + 1]) for at in range(0, len(mixed), len(items) // cuts + 1)]
        other = built(pieces, tmp_path / name, settings)
        assert other.files == first.files
        assert version_of(other) == version_of(first)
    for file in (*FILES, "projection.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "d" / file).read_bytes()


def test_items_of_a_product_are_together_with_its_whole_picture_first(tmp_path: Path) -> None:
    items = shop(50, 4, seed=2, crops=3)
    built([items[at] for at in np.random.default_rng(0).permutation(len(items))], tmp_path)
    index = open_folder(tmp_path)
    products = index.rows.table["product_id"].to_pylist()
    assert products == sorted(products)
    assert (index.rows.kinds[index.rows.starts[:-1]] == 0).all()
    by_crop = {item[1]: item[5] for item in items}
    for row, crop in enumerate(index.rows.table["crop_id"].to_pylist()):
        assert np.allclose(index.rows.vectors[row], by_crop[crop], atol=1e-6)
    assert set(pq.read_table(tmp_path / "items.parquet").column_names).isdisjoint({"vector"})


def test_a_manifest_of_before_handles_were_noted_is_read_and_names_the_same_version(tmp_path: Path) -> None:
    manifest = built(shop(20, 4, seed=1), tmp_path)
    value = json.loads(manifest.to_bytes())
    assert value.pop("extractor") == ""
    older = Manifest.from_bytes(json.dumps(value).encode())
    assert older.extractor == ""
    assert version_of(older) == version_of(manifest) == version_of(replace(manifest, extractor="bundled:other"))


def test_the_manifest_counts_what_was_built_and_reads_back_as_written(tmp_path: Path) -> None:
    manifest = built(shop(300, 24, seed=1), tmp_path, IndexSettings(projection_dims=8))
    assert Manifest.from_bytes((tmp_path / "manifest.json").read_bytes()) == manifest
    assert (manifest.products, manifest.raw_dims, manifest.dims) == (300, 24, 8)
    assert manifest.items == len(pq.read_table(tmp_path / "items.parquet"))
    assert manifest.projection is not None and 0.2 < manifest.projection["variance_kept"] < 1.0
    assert manifest.sources == {"b1": "d1"} and manifest.fingerprints == {"extractor": "f1"}
    assert set(manifest.files) == {*FILES, "projection.npz"}
    assert {entry["label"] for entry in manifest.recall["by_label"]} == {None, *LABELS}
    assert manifest.serve_with in ("annoy", "exact") and manifest.serve_reason


def test_the_projection_keeps_the_directions_of_most_variance(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    flat = rng.standard_normal((400, 3)) @ rng.standard_normal((3, 20)) + rng.standard_normal(20)
    units = unit(flat + 1e-4 * rng.standard_normal((400, 20))).astype(np.float64)
    moments = Moments(20)
    moments.add(units)
    projection = moments.projection(4)
    assert projection is not None
    centred = units - units.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    assert projection.variance_kept == pytest.approx(values[:4].sum() / values.sum(), abs=1e-4)
    assert np.allclose(projection.mean, units.mean(axis=0), atol=1e-5)
    assert np.allclose(projection.components.T @ projection.components, np.eye(4), atol=1e-12)


def test_a_vector_gets_the_same_bits_whatever_stands_beside_it() -> None:
    rng = np.random.default_rng(4)
    raw = unit(rng.standard_normal((3000, 40)))
    moments = Moments(40)
    moments.add(raw.astype(np.float64))
    projection = moments.projection(16)
    whole = to_index_space(raw, projection)
    order = rng.permutation(3000)
    assert (to_index_space(raw[order], projection) == whole[order]).all()
    assert (to_index_space(raw[1234:1235], projection) == whole[1234]).all()
    assert np.allclose(np.linalg.norm(whole, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("items", "dims", "note"), [(30, 24, "too few"), (300, 8, "not more than"), (300, 6, "not more than")]
)
def test_the_projection_is_left_out_when_it_cannot_help(tmp_path: Path, items: int, dims: int, note: str) -> None:
    manifest = built(shop(items, dims, crops=0), tmp_path, IndexSettings(projection_dims=8))
    assert manifest.projection is None and note in manifest.projection_note
    assert manifest.dims == dims and "projection.npz" not in manifest.files


def test_identical_vectors_are_indexed_without_a_projection(tmp_path: Path) -> None:
    same = unit(np.arange(1.0, 13.0))
    items: list[Item] = [(f"p{n}", f"c{n}", "whole", None, None, same) for n in range(200)]
    manifest = built(items, tmp_path, IndexSettings(projection_dims=8))
    assert manifest.projection is None and "do not vary" in manifest.projection_note
    assert manifest.recall["recall"] == 1.0
    assert open_folder(tmp_path).rows.products == 200


def test_one_item_makes_an_index(tmp_path: Path) -> None:
    manifest = built([("only", "c", "whole", None, None, unit(np.ones(3)))], tmp_path)
    assert (manifest.products, manifest.items) == (1, 1)
    assert open_folder(tmp_path).annoy.nearest(unit(np.ones(3)), 5, 100).tolist() == [0]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.full(4, np.nan), "not finite"),
        (np.array([1, np.inf, 0, 0]), "not finite"),
        (np.zeros(4), "zero"),
    ],
)
def test_a_vector_that_cannot_be_used_is_refused_with_its_product(tmp_path: Path, bad: np.ndarray, words: str) -> None:
    items = [*shop(3, 4), ("the/bad.one", "c-x", "crop", "Chair", 0.4, bad.astype(np.float32))]
    with pytest.raises(StoreError, match=f"the/bad.one.*c-x.*{words}"):
        built(items, tmp_path)
    assert not (tmp_path / "manifest.json").exists()


def test_a_vector_of_another_dimension_is_refused_with_its_product(tmp_path: Path) -> None:
    other = table([("alien", "c", "whole", None, None, unit(np.ones(5)))])
    with pytest.raises(StoreError, match="'alien' has 5 dimensions where 4"):
        built([table(shop(3, 4)), other], tmp_path)


def test_an_item_without_vector_or_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    good = table(shop(3, 4))
    hole = pa.FixedSizeListArray.from_arrays(
        pa.array(np.ones(4 * len(good), np.float32)), 4, mask=pa.array([False] * (len(good) - 1) + [True])
    )
    with pytest.raises(StoreError, match="'p00002' has an item without a vector"):
        built(good.set_column(good.column_names.index("vector"), "vector", hole), tmp_path)
    with pytest.raises(StoreError, match="'p' has an item of unknown kind 'half'"):
        built([("p", "c", "half", None, None, unit(np.ones(4)))], tmp_path)
    with pytest.raises(StoreError, match="lacks the column 'label'"):
        built(good.drop_columns(["label"]), tmp_path)


def test_nothing_to_index_is_an_error_of_its_own(tmp_path: Path) -> None:
    for tables in ([], [table(shop(2, 4)).slice(0, 0)]):
        with pytest.raises(StoreError, match="nothing to index"):
            build_index(lambda: iter(tables), tmp_path, PLAIN, fingerprints={}, sources={})  # noqa: B023


def test_items_that_change_between_the_passes_are_noticed(tmp_path: Path) -> None:
    calls = iter([shop(20, 4, seed=1), shop(20, 4, seed=2)])

    def items() -> Iterator[pa.Table]:
        return iter([table(next(calls))])

    with pytest.raises(StoreError, match="changed while"):
        build_index(items, tmp_path, PLAIN, fingerprints={}, sources={})


def test_a_folder_with_an_index_is_never_built_over(tmp_path: Path) -> None:
    built(shop(5, 4), tmp_path)
    with pytest.raises(StoreError, match="already holds an index"):
        built(shop(6, 4), tmp_path)


def _damage(file: Path, how: str) -> None:
    data = bytearray(file.read_bytes())
    if how == "missing":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif how == "one node short":
        file.write_bytes(data[: -(12 + 4 * 4)])
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data)


@pytest.mark.parametrize("how", ["missing", "truncated", "one node short", "one bit flipped"])
@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_damaged_folder_is_refused(tmp_path: Path, name: str, how: str) -> None:
    built(shop(60, 4), tmp_path)
    if name == "manifest.json" and how == "one bit flipped":
        how = "truncated"  # a manifest is checked by the record that publishes it, not by itself
    _damage(tmp_path / name, how)
    with pytest.raises(IndexDamaged, match=name if name != "manifest.json" else "manifest"):
        open_folder(tmp_path)


def test_nothing_is_mapped_before_every_file_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built(shop(60, 4), tmp_path)
    _damage(tmp_path / "vectors.npy", "one bit flipped")  # the last name in the order of checks

    def mapped(*_: object, **__: object) -> None:
        raise AssertionError("mapped before verified")

    monkeypatch.setattr(np, "load", mapped)
    monkeypatch.setattr("vetrina.index.reader.AnnoyFile", mapped)
    with pytest.raises(IndexDamaged, match=r"vectors\.npy"):
        open_folder(tmp_path)


def test_files_that_contradict_each_other_are_refused_although_each_is_whole(tmp_path: Path) -> None:
    built(shop(60, 4, seed=1), tmp_path / "a")
    built(shop(70, 4, seed=2), tmp_path / "b")
    for name in FILES:
        mixed = json.loads((tmp_path / "a" / "manifest.json").read_text())
        mixed["files"][name] = json.loads((tmp_path / "b" / "manifest.json").read_text())["files"][name]
        folder = tmp_path / f"mixed-{name}"
        folder.mkdir()
        for file in FILES:
            (folder / file).write_bytes((tmp_path / ("b" if file == name else "a") / file).read_bytes())
        (folder / "manifest.json").write_text(json.dumps(mixed))
        with pytest.raises(IndexDamaged):
            open_folder(folder)


def test_an_annoy_file_of_other_vectors_fails_its_self_test(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one, other = (unit(rng.standard_normal((500, 6))) for _ in range(2))
    build_file(one, tmp_path / "x.ann", trees=5, seed=1)
    AnnoyFile(tmp_path / "x.ann", one)
    with pytest.raises(IndexDamaged, match="does not find its own item"):
        AnnoyFile(tmp_path / "x.ann", other)


def test_a_closed_annoy_file_and_a_misshapen_query_are_errors_not_empty_answers(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((50, 6)))
    build_file(vectors, tmp_path / "x.ann", trees=5, seed=1)
    opened = AnnoyFile(tmp_path / "x.ann", vectors)
    with pytest.raises(SettingError):
        opened.nearest(np.full(6, np.nan, np.float32), 3, 100)
    with pytest.raises(SettingError):
        opened.nearest(vectors[0][:5], 3, 100)
    opened.close()
    with pytest.raises(IndexDamaged, match="closed"):
        opened.nearest(vectors[0], 3, 100)


@pytest.mark.parametrize(
    "wrong",
    [{"trees": 0}, {"search_k": -1}, {"recall_target": 1.5}, {"serve_with": "magic"}, {"crop_penalty": -0.1}],
)
def test_settings_that_cannot_be_used_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        IndexSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingError):
        Penalties(float("nan"))


@settings(max_examples=50, deadline=None)
@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), min_size=1, max_size=20))
def test_every_id_is_found_at_its_place_and_no_other_is(names: list[str]) -> None:
    items: list[Item] = [(name, f"c{n}", "whole", None, None, unit(np.ones(2))) for n, name in enumerate(names)]
    rows = rows_from_tables([table(items)], 2, None)
    assert rows.products == len(set(names))
    for name in names:
        place = rows.find(name)
        assert place is not None and rows.product_id(place) == name
        assert len(rows.items_of(np.array([place]))) == names.count(name)
    assert rows.find("not one of them") is None
