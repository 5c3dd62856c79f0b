from __future__ import annotations

import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from support.vectors import clustered

from vetrina.errors import BrokenLibrary, IndexDamaged, SettingError, StoreError
from vetrina.index import annoy_file
from vetrina.index.device import NumpyDevice
from vetrina.index.kinds import COSINE, EUCLIDEAN, KINDS, Kind, build_kind, open_kind
from vetrina.index.kinds.exact import ExactKind
from vetrina.index.kinds.folders import DESCRIPTION
from vetrina.index.kinds.interface import Parameters

NEEDS_USEARCH = pytest.mark.skipif(find_spec("usearch") is None, reason="USearch, an optional extra, is not installed")
ALL = [pytest.param(name, marks=NEEDS_USEARCH if name == "graph" else ()) for name in KINDS]
APPROXIMATE = [entry for entry in ALL if entry.values != ("exact",)]
HARD: dict[str, Parameters] = {
    "annoy": {"trees": 10, "search_k": 4000},
    "exact": {},
    "lsh": {"tables": 40, "projections": 4, "width": 1.0},
    "graph": {"expansion": 200},
}
EFFORTS = {"annoy": (10, 4000), "lsh": (1, 40), "graph": (1, 200)}


def made(name: str, vectors: np.ndarray, folder: Path, metric: str = COSINE) -> Kind:
    build_kind(name, vectors, folder, HARD[name], metric)
    return open_kind(folder)


def true_rows(vectors: np.ndarray, query: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(((vectors.astype(np.float64) - query) ** 2).sum(axis=1), kind="stable")[:k]


def recall(kind: Kind, queries: np.ndarray, effort: int | None = None) -> float:
    return float(
        np.mean([np.isin(true_rows(kind.vectors, q, 10), kind.nearest(q, 10, effort)).mean() for q in queries])
    )


@pytest.mark.parametrize("metric", [COSINE, EUCLIDEAN])
@pytest.mark.parametrize("name", ALL)
def test_every_kind_finds_nearly_all_true_neighbours_nearest_first(tmp_path: Path, name: str, metric: str) -> None:
    vectors = clustered(2000)
    if metric == EUCLIDEAN:  # of other lengths the nearest by angle and by distance differ
        vectors *= np.random.default_rng(3).uniform(0.3, 1.0, (2000, 1)).astype(np.float32)
    kind = made(name, vectors, tmp_path / "i", metric)
    queries = vectors[::40] if metric == EUCLIDEAN else clustered(50)
    for query in queries[:5]:
        rows = kind.nearest(query, 10)
        assert rows.dtype == np.int64 and len(set(rows.tolist())) == 10
        assert (np.diff(((vectors[rows] - query) ** 2).sum(axis=1)) >= -1e-5).all()
        if metric == COSINE:
            assert (kind.nearest(query * 3, 10) == rows).all()  # the length counts for nothing
    found = recall(kind, queries)
    assert found == 1.0 if name == "exact" else found > 0.95


@pytest.mark.parametrize("name", APPROXIMATE)
def test_more_effort_visits_more_items_and_finds_more(tmp_path: Path, name: str) -> None:
    kind = made(name, clustered(2000), tmp_path / "i")
    queries = clustered(30, seed=0)
    little, much = EFFORTS[name]
    visits = [np.mean([kind.visited(query, 1, effort) for query in queries]) for effort in (little, much)]
    assert 1 <= visits[0] < visits[1] <= 2000
    assert recall(kind, queries, little) < recall(kind, queries, much)


def test_exact_visits_everything_and_has_no_effort_to_choose(tmp_path: Path) -> None:
    kind = made("exact", clustered(300), tmp_path / "i")
    assert kind.visited(kind.vectors[0], 5) == 300
    assert (kind.nearest(kind.vectors[7], 5, 1) == kind.nearest(kind.vectors[7], 5, 1000)).all()


def test_lsh_visits_the_items_that_share_a_bucket(tmp_path: Path) -> None:
    vectors = clustered(400, 8)
    parameters = {"tables": 3, "projections": 4, "width": 0.5, "seed": 5}
    build_kind("lsh", vectors, tmp_path / "i", parameters)
    kind = open_kind(tmp_path / "i")
    directions, offsets = (np.load(tmp_path / "i" / f"{name}.npy") for name in ("directions", "offsets"))
    cells = np.floor((vectors @ directions + offsets) / np.float32(0.5)).reshape(400, 3, 4)
    for query in range(0, 400, 20):
        shared = (cells == cells[query]).all(axis=2)
        assert kind.visited(vectors[query], 5) == shared.any(axis=1).sum()
        assert kind.visited(vectors[query], 5, 2) == shared[:, :2].any(axis=1).sum()
        rows = kind.nearest(vectors[query], 5)
        assert rows[0] == query and shared[rows].any(axis=1).all()


def test_a_query_far_from_every_bucket_finds_nothing_by_lsh(tmp_path: Path) -> None:
    vectors = clustered(100, 8)
    build_kind("lsh", vectors, tmp_path / "i", {"tables": 1, "projections": 20, "width": 0.01}, EUCLIDEAN)
    far = np.full(8, 50, np.float32)
    assert open_kind(tmp_path / "i").nearest(far, 5).tolist() == []
    assert open_kind(tmp_path / "i").visited(far, 5) == 0


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_items_are_all_found_however_many_are_asked_for(tmp_path: Path, name: str, count: int) -> None:
    vectors = clustered(count, 8)
    kind = made(name, vectors, tmp_path / "i")
    for k in (count, count + 1, 1000):
        assert kind.nearest(vectors[0], k).tolist() == true_rows(vectors, vectors[0], count).tolist()
        assert kind.visited(vectors[0], k) == count


@pytest.mark.parametrize("name", ALL)
def test_identical_vectors_are_found_as_many_as_are_asked_for(tmp_path: Path, name: str) -> None:
    vectors = np.repeat(clustered(1, 8), 300, axis=0)
    kind = made(name, vectors, tmp_path / "i")
    assert len(set(kind.nearest(vectors[0], 20).tolist())) == 20


@pytest.mark.parametrize("name", ALL)
def test_a_query_that_cannot_be_used_is_refused(tmp_path: Path, name: str) -> None:
    vectors = clustered(50, 8)
    kind = made(name, vectors, tmp_path / "i")
    for search in (kind.nearest, kind.visited):
        with pytest.raises(SettingError, match=r"shape \(7,\); this index needs 8 numbers"):
            search(vectors[0][:7], 3)
        with pytest.raises(SettingError, match="not finite"):
            search(np.full(8, np.nan, np.float32), 3)
        with pytest.raises(SettingError, match="zero, which has no direction"):
            search(np.zeros(8, np.float32), 3)
        with pytest.raises(SettingError, match="neighbours is 0; it must be at least 1"):
            search(vectors[0], 0)
        with pytest.raises(SettingError, match="effort is 0; it must be at least 1"):
            search(vectors[0], 3, 0)


def test_lsh_has_no_more_tables_than_it_was_built_with(tmp_path: Path) -> None:
    kind = made("lsh", clustered(50), tmp_path / "i")
    with pytest.raises(SettingError, match="effort is 41; this index has 40 tables"):
        kind.nearest(kind.vectors[0], 3, 41)
    with pytest.raises(SettingError, match="tables is 257; LSH takes at most 256"):
        build_kind("lsh", clustered(50), tmp_path / "j", {"tables": 257})
    assert [path.name for path in tmp_path.iterdir()] == ["i"]  # nothing half-built stays


@pytest.mark.parametrize(
    ("rows", "metric", "words"),
    [
        (np.array([[1, 0], [np.nan, 0]], np.float32), COSINE, "row 1 has length nan; cosine needs finite"),
        (np.array([[1, 0], [0, 0]], np.float32), COSINE, "row 1 has length 0; cosine needs"),
        (np.array([[1, 0], [3, 4]], np.float32), COSINE, "row 1 has length 5"),
        (np.array([[1, 0], [np.inf, 0]], np.float32), EUCLIDEAN, "row 1 has length inf; it must be finite"),
        (np.zeros((0, 4), np.float32), COSINE, r"shape \(0, 4\)"),
        (np.ones(4, np.float32), COSINE, r"shape \(4,\)"),
        (np.eye(3), COSINE, "float64"),
    ],
)
def test_vectors_that_cannot_be_indexed_are_refused(tmp_path: Path, rows: np.ndarray, metric: str, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        build_kind("exact", rows, tmp_path / "i", metric=metric)
    assert not list(tmp_path.iterdir())


def test_a_zero_vector_has_its_place_among_euclidean_distances(tmp_path: Path) -> None:
    vectors = np.array([[0, 0], [3, 4], [0, 1]], np.float32)
    for name in ("annoy", "exact", "lsh"):
        assert made(name, vectors, tmp_path / name, EUCLIDEAN).nearest(vectors[0], 3).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("name", "parameters", "metric", "words"),
    [
        ("tree", {}, COSINE, "no index kind 'tree'; use one of annoy, exact, lsh, graph"),
        ("exact", {}, "manhattan", "no metric 'manhattan'; use one of cosine, euclidean"),
        ("exact", {"trees": 3}, COSINE, "exact has no parameter 'trees'; it has none"),
        ("annoy", {"tree": 3}, COSINE, "annoy has no parameter 'tree'; it has trees, search_k, seed"),
        ("annoy", {"trees": 2.5}, COSINE, "trees is 2.5; it must be a whole number"),
        ("annoy", {"trees": True}, COSINE, "trees is True; it must be a whole number"),
        ("annoy", {"trees": 0}, COSINE, "trees is 0; it must be above 0"),
        ("lsh", {"width": "1"}, COSINE, "width is '1'; it must be a number"),
        ("lsh", {"width": float("nan")}, COSINE, "width is nan; it must be above 0"),
    ],
)
def test_a_kind_metric_or_parameter_that_there_is_not_is_refused(
    tmp_path: Path, name: str, parameters: Parameters, metric: str, words: str
) -> None:
    with pytest.raises(SettingError, match=words):
        build_kind(name, clustered(5), tmp_path / "i", parameters, metric)


@pytest.mark.parametrize("name", ALL)
def test_the_same_vectors_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    vectors = clustered(500)
    versions = [build_kind(name, vectors, tmp_path / folder, HARD[name]) for folder in ("a", "b")]
    assert versions[0] == versions[1]
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert build_kind(name, clustered(500, seed=1), tmp_path / "c", HARD[name]) != versions[0]
    described = json.loads((tmp_path / "a" / DESCRIPTION).read_text())
    assert described["kind"] == name and described["version"] == versions[0]
    assert described["parameters"].items() >= dict(HARD[name]).items()


def test_an_index_is_never_built_over_and_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_kind("exact", clustered(5), tmp_path / "i")
    with pytest.raises(StoreError, match="exists; an index is never changed"):
        build_kind("exact", clustered(6), tmp_path / "i")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ExactKind, "write", full)
    with pytest.raises(StoreError, match="cannot be written: No space left on device"):
        build_kind("exact", clustered(5), tmp_path / "j")
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


@pytest.mark.parametrize("how", ["missing", "truncated", "one bit flipped", "foreign"])
@pytest.mark.parametrize("name", ALL)
def test_a_damaged_file_is_refused_before_anything_is_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    build_kind(name, clustered(200), tmp_path / "good", HARD[name])
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("mapped before verified"))
    for file in (tmp_path / "good").iterdir():
        data = bytearray(file.read_bytes())
        if how == "missing":
            file.unlink()
        elif how == "truncated":
            file.write_bytes(data[:-7])
        elif how == "foreign":
            file.write_bytes(b"\x93NUMPY" + data[6:][::-1])
        else:
            changed = bytearray(data)
            changed[len(data) // 2] ^= 1
            file.write_bytes(changed)
        with pytest.raises(IndexDamaged, match=file.name if how != "missing" else "There is no|cannot be read"):
            open_kind(tmp_path / "good")
        file.write_bytes(data)


def test_a_description_that_is_not_what_it_was_is_refused(tmp_path: Path) -> None:
    build_kind("exact", clustered(20), tmp_path / "i")
    file = tmp_path / "i" / DESCRIPTION
    described = json.loads(file.read_text())
    for changed, words in (
        ({**described, "items": 19}, "altered: its checksum is not its version"),
        ({**described, "format": 2}, "has format 2; this version reads 1"),
        ([described], "has format None"),
    ):
        file.write_text(json.dumps(changed))
        with pytest.raises(IndexDamaged, match=words):
            open_kind(tmp_path / "i")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"kind": "tree"}, "of the kind 'tree', metric 'cosine', unknown here"),
        ({"metric": "dot"}, "metric 'dot', unknown here"),
        ({"files": {"../vectors.npy": {"sha256": "", "bytes": 0}}}, "names a file outside its folder"),
        ({"items": 19}, r"have shape \(20, 16\), which kind.json contradicts"),
    ],
)
def test_a_folder_made_elsewhere_is_refused_where_it_is_not_understood(
    tmp_path: Path, changed: dict[str, object], words: str
) -> None:
    build_kind("exact", clustered(20), tmp_path / "i")
    file = tmp_path / "i" / DESCRIPTION
    described = {**json.loads(file.read_text()), **changed}
    del described["version"]
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
    file.write_text(json.dumps({**described, "version": digest}))
    with pytest.raises(IndexDamaged, match=words):
        open_kind(tmp_path / "i")


@pytest.mark.parametrize("name", [entry for entry in APPROXIMATE if entry.values != ("lsh",)])
def test_whole_files_of_other_vectors_are_refused(tmp_path: Path, name: str) -> None:
    for folder, count in (("a", 300), ("b", 200)):
        build_kind(name, clustered(count), tmp_path / folder, HARD[name])
    vectors = np.load(tmp_path / "a" / "vectors.npy")
    with pytest.raises(IndexDamaged, match=r"200 items where 300|not of 300 vectors of 16 numbers"):
        KINDS[name](tmp_path / "b", vectors, COSINE, HARD[name])


def test_lsh_tables_of_other_vectors_are_refused(tmp_path: Path) -> None:
    kind = made("lsh", clustered(200), tmp_path / "b")
    with pytest.raises(IndexDamaged, match=r"keys.npy has shape \(8000,\) where \(12000,\) is expected"):
        KINDS["lsh"](tmp_path / "b", clustered(300), COSINE, kind.parameters)


def test_without_usearch_the_graph_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(SettingError, match=r"needs USearch, which is not installed: pip install 'vetrina\[graph\]'"):
        build_kind("graph", clustered(5), tmp_path / "i")
    assert not list(tmp_path.iterdir())


def test_an_annoy_that_gives_wrong_neighbours_is_refused_where_it_is_first_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered(50, 8)
    annoy_file.build_file(vectors, tmp_path / "x.ann", trees=5, seed=1)
    real = annoy_file.annoy.AnnoyIndex

    class OneNeighbour(real):  # type: ignore[misc, valid-type]
        def get_nns_by_vector(self, vector: np.ndarray, n: int, search_k: int = -1) -> list[int]:
            return list(super().get_nns_by_vector(vector, 1, search_k))

    class NextNeighbours(real):  # type: ignore[misc, valid-type]
        def get_nns_by_vector(self, vector: np.ndarray, n: int, search_k: int = -1) -> list[int]:
            return list(super().get_nns_by_vector(vector, n + 1, search_k))[1:]

    for broken in (OneNeighbour, NextNeighbours):
        monkeypatch.setattr(annoy_file.annoy, "AnnoyIndex", broken)
        annoy_file.check_annoy.cache_clear()
        with pytest.raises(BrokenLibrary, match="wrong neighbours for 64 of 64 test vectors; build it again"):
            annoy_file.AnnoyFile(tmp_path / "x.ann", vectors)
        with pytest.raises(BrokenLibrary):
            annoy_file.build_file(vectors, tmp_path / "y.ann", trees=5, seed=1)
    assert not (tmp_path / "y.ann").exists()
    monkeypatch.setattr(annoy_file.annoy, "AnnoyIndex", real)
    annoy_file.AnnoyFile(tmp_path / "x.ann", vectors)


def exact(folder: Path, metric: str = COSINE) -> ExactKind:
    kind = made("exact", clustered(50), folder, metric)
    assert isinstance(kind, ExactKind)
    return kind


def test_exact_search_is_done_on_the_card_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Card(NumpyDevice):
        name = "gpu"

        def top_k(self, queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            asked.append(len(queries))
            return super().top_k(queries, vectors, k)

    monkeypatch.setattr("vetrina.index.device._card", Card)
    kind = exact(tmp_path / "a")
    there = kind.nearest(kind.vectors[3], 7)
    assert asked == []
    assert (kind.on("gpu").nearest(kind.vectors[3], 7) == there).all()
    assert asked == [1]
    assert (kind.on("cpu").nearest(kind.vectors[3], 7) == there).all()
    assert asked == [1]
    with pytest.raises(SettingError, match="on the processor only; set the device to cpu"):
        exact(tmp_path / "b", EUCLIDEAN).on("gpu")


def test_without_a_card_exact_search_on_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise SettingError("TensorFlow sees no GPU")

    monkeypatch.setattr("vetrina.index.device._card", none)
    with pytest.raises(SettingError, match="no GPU"):
        exact(tmp_path / "a").on("gpu")
    with pytest.raises(SettingError, match="'tpu'"):
        exact(tmp_path / "b").on("tpu")


def test_items_that_no_leaf_visited_early_holds_do_not_make_a_file_look_damaged(tmp_path: Path) -> None:
    rows = [[0, 0, 0, 0, 0, -1], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, -1]]
    rows += [[0, -1, 0, 0, 0, 0], [0, -1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, -1, 0, 0, -1, 0], [1, 0, 0, 0, 0, 0]]
    vectors = np.array(rows, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for trees in (40, 160, 400):
        annoy_file.build_file(vectors, tmp_path / f"{trees}.ann", trees=trees, seed=1)
        opened = annoy_file.AnnoyFile(tmp_path / f"{trees}.ann", vectors)
        assert opened.items == 10
        opened.close()


@pytest.mark.parametrize("copies", [1500, 6000])
def test_thousands_of_equal_items_do_not_make_a_file_look_damaged(tmp_path: Path, copies: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000 + copies, 16)).astype(np.float32)
    vectors[3000:] = vectors[3000]
    vectors = rng.permutation(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    annoy_file.build_file(vectors, tmp_path / "x.ann", trees=40, seed=1)
    opened = annoy_file.AnnoyFile(tmp_path / "x.ann", vectors)
    assert opened.items == 3000 + copies
    opened.close()
