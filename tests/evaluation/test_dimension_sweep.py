"""The sweep over dimensions: what it keeps, what it loses, and that the raw vectors are its measure."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from index_samples import Item, shop, table, unit

from vetrina.errors import NotFound, SettingError
from vetrina.evaluation import sweep as module
from vetrina.evaluation.evaluation import Plan, Roles, assign_roles
from vetrina.evaluation.sweep import sweep

PLAN = Plan("cluster", k=5, resamples=50)


def flat_shop(products: int, dims: int, rank: int, seed: int = 1) -> tuple[list[Item], dict[str, str]]:
    """Products in five clusters whose vectors vary in `rank` directions alone."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((dims, rank + 1)))[0].T
    centres = rng.standard_normal((5, rank))
    items: list[Item] = []
    labels = {}
    for number in range(products):
        cluster = number % 5
        inside = centres[cluster] + 0.5 * rng.standard_normal(rank)
        name = f"p{number:03d}"
        items.append((name, f"{name}-w", "whole", None, None, unit(np.r_[inside, 8.0] @ axes)))
        items.append((name, f"{name}-c", "crop", "Chair", 0.9, unit(rng.standard_normal(dims))))
        labels[name] = str(cluster)
    return items, labels


def roles_of(labels: dict[str, str], plan: Plan = PLAN) -> Roles:
    return assign_roles(sorted(labels), labels, plan)


def test_dimensions_beyond_those_that_vary_change_nothing() -> None:
    items, labels = flat_shop(200, 200, rank=20)
    found = sweep([table(items)], labels, roles_of(labels), PLAN)
    assert (found.products, found.queries) == (200, 200)
    assert [space.dims for space in found.spaces] == [16, 32, 64, 100, 128, 150, 200]
    assert [space.raw for space in found.spaces] == [False] * 6 + [True]
    kept = [space.variance_kept for space in found.spaces]
    assert kept == sorted(kept)
    assert 0.5 < kept[0] < 0.99
    assert kept[1] > 0.999
    near = [space.measures["neighbours@5"].value for space in found.spaces]
    assert near[-1] == 1
    assert near[0] < near[1]
    assert near[1] == pytest.approx(near[5], abs=0.02)
    assert found.spaces[1].measures["map@5"].value == pytest.approx(found.spaces[5].measures["map@5"].value, abs=0.01)


def test_the_raw_row_is_the_plain_cosine_worked_out_again() -> None:
    items, labels = flat_shop(60, 30, rank=6)
    raw = sweep([table(items)], labels, roles_of(labels), PLAN).spaces[-1]
    vectors = np.array([item[5] for item in items if item[2] == "whole"], np.float64)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    codes = np.array([int(labels[name]) for name in sorted(labels)])
    nearest = np.argsort(-scores, axis=1)[:, :4]
    accuracy = (codes[nearest] == codes[:, None]).mean()
    assert raw.measures["accuracy@4"].value == pytest.approx(accuracy)
    assert set(raw.measures) == {"map@5", "precision@5", "accuracy@4", "neighbours@5"}
    assert raw.cpu_ms > 0


def test_a_split_is_asked_and_not_found() -> None:
    items, labels = flat_shop(60, 30, rank=6)
    asking = set(sorted(labels)[:10])
    roles = assign_roles(sorted(labels), labels, PLAN, asking=asking, apart=True)
    found = sweep([table(items)], labels, roles, PLAN)
    assert (found.products, found.queries) == (50, 10)


def test_it_comes_in_any_order_of_tables_and_is_the_same() -> None:
    items, labels = flat_shop(80, 40, rank=6)
    one = sweep([table(items)], labels, roles_of(labels), PLAN)
    parts: list[pa.Table] = [table(items[100:]), table(items[:100])]
    other = sweep(parts, labels, roles_of(labels), PLAN)
    assert [space.measures for space in one.spaces] == [space.measures for space in other.spaces]


def test_a_large_shop_is_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PRODUCTS", 40)
    items, labels = flat_shop(80, 40, rank=6)
    found = sweep([table(items)], labels, roles_of(labels), PLAN)
    assert found.products == 40
    assert [space.dims for space in found.spaces] == [16, 32, 40]


def test_few_or_unvarying_vectors_leave_the_raw_row() -> None:
    items, labels = flat_shop(10, 12, rank=3)
    found = sweep([table(items)], labels, roles_of(labels, Plan("cluster", k=2)), Plan("cluster", k=2))
    assert [space.dims for space in found.spaces] == [12]
    same = [(name, crop, kind, label, score, unit(np.ones(40))) for name, crop, kind, label, score, _ in shop(30, 40)]
    labels = {item[0]: item[0][-1] for item in same}
    assert [space.raw for space in sweep([table(same)], labels, roles_of(labels), PLAN).spaces] == [True]


def test_without_vectors_or_with_too_large_a_k_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    items, labels = flat_shop(60, 30, rank=6)
    with pytest.raises(NotFound, match="No product that was to be searched has an embedding"):
        sweep([], labels, roles_of(labels), PLAN)
    monkeypatch.setattr(module, "MOST_PRODUCTS", 5)
    with pytest.raises(SettingError, match="k is 5, but the sweep can search 5 products only"):
        sweep([table(items)], labels, roles_of(labels), PLAN)
