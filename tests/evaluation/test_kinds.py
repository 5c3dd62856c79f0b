from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from support.vectors import clustered

from vetrina.errors import SettingError
from vetrina.evaluation.kinds import Task, compare_kinds, held_out, reach


def made_task(count: int = 600, asked: int = 40, k: int = 10) -> Task:
    vectors = clustered(count + asked)
    return Task.of(vectors[asked:], vectors[:asked], k)


def test_recall_is_the_share_of_the_true_neighbours_found() -> None:
    task = made_task()
    true = np.argsort(-(task.queries @ task.vectors.T), axis=1)[:, :10]
    wrong = np.argsort(task.queries @ task.vectors.T, axis=1)[:, :10]
    assert task.recall(true) == 1.0
    assert task.recall(wrong) == 0.0
    assert task.recall(np.concatenate([true[:, :7], wrong[:, :3]], axis=1)) == pytest.approx(0.7)
    assert task.recall([rows[:4] for rows in true]) == pytest.approx(0.4)
    assert task.recall([np.zeros(0, np.int64)] * 40) == 0.0


def test_a_copy_of_a_neighbour_counts_as_found() -> None:
    vectors = np.repeat(clustered(30), 4, axis=0)
    task = Task.of(vectors, vectors[:1], 2)
    assert task.recall([np.array([2, 3])]) == 1.0


def test_the_least_effort_that_reaches_a_recall_is_found() -> None:
    task = made_task(k=10)
    true = {query.tobytes(): rows for query, rows in zip(task.queries, _true(task), strict=True)}

    def search(query: np.ndarray, effort: int) -> np.ndarray:
        return true[query.tobytes()][: min(effort // 10, 9)]  # 90 finds 0.9, and nothing finds more

    reached = reach(task, search, 1000, (0.5, 0.9, 0.95))
    ladder = [1]
    while ladder[-1] < 1000:
        ladder.append(int(np.ceil(ladder[-1] * 1.2)))
    assert [entry.effort for entry in reached] == [min(e for e in ladder if e >= least) for least in (50, 90)] + [None]
    assert [entry.recall for entry in reached] == pytest.approx([0.5, 0.9, 0.9])
    assert all(0 <= entry.p50_ms <= entry.p99_ms for entry in reached)


def _true(task: Task) -> np.ndarray:
    return np.argsort(-(task.queries @ task.vectors.T), axis=1)[:, : task.k]


def test_every_kind_is_measured_on_the_same_task(tmp_path: Path) -> None:
    compared = {entry.kind: entry for entry in compare_kinds(made_task(), tmp_path, (0.9,))}
    assert list(compared) == ["annoy", "exact", "lsh", "graph"]
    exact, annoy, lsh = (compared[name] for name in ("exact", "annoy", "lsh"))
    assert (exact.reached[0].recall, exact.visited, exact.file_bytes) == (1.0, [1.0], _description(tmp_path))
    assert annoy.reached[0].effort is not None and annoy.reached[0].recall >= 0.9 and annoy.visited[0] < 1
    assert annoy.file_bytes > 600 * 16 * 4
    assert 0 < lsh.visited[0] <= 1 and lsh.as_json()["parameters"]["projections"] == 12
    assert not (exact.note or annoy.note or lsh.note)


def _description(folder: Path) -> int:
    return (folder / "exact" / "kind.json").stat().st_size


def test_a_kind_that_is_not_installed_has_a_note_in_place_of_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    graph = compare_kinds(made_task(50, 5), tmp_path, (0.9,))[-1]
    assert graph.kind == "graph" and graph.reached == [] and "pip install 'vetrina[graph]'" in graph.note


@pytest.mark.parametrize(("count", "asking"), [(2, 1), (10, 2), (4000, 500)])
def test_a_fifth_of_the_vectors_ask_for_the_others(count: int, asking: int) -> None:
    vectors = clustered(count)
    task = held_out(vectors, 10)
    assert (len(task.queries), len(task.vectors), task.k) == (asking, count - asking, min(10, count - asking))
    rows = {row.tobytes() for row in vectors}
    assert {row.tobytes() for row in np.concatenate([task.queries, task.vectors])} == rows


def test_too_little_to_compare_is_said() -> None:
    with pytest.raises(SettingError, match="two vectors or more"):
        held_out(clustered(1), 10)
    with pytest.raises(SettingError, match="neighbours is 0"):
        held_out(clustered(5), 0)


def test_identical_vectors_are_all_as_good_as_the_nearest(tmp_path: Path) -> None:
    task = held_out(np.repeat(clustered(1), 60, axis=0), 5)
    found = compare_kinds(task, tmp_path, (0.99,))
    assert [entry.reached[0].recall for entry in found if not entry.note] == [1.0] * sum(not e.note for e in found)
