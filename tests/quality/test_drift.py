"""Drift is told when it is there, and not when it is chance or too little is known."""

from dataclasses import replace

import numpy as np
import pytest
from support.fault_server import FaultServer
from support.shops import Shop, rows_of

from vetrina.quality.drift import (
    NOTHING,
    BatchFigures,
    chance_divergence,
    divergence,
    earlier_figures,
    judge_class_mix,
    judge_neighbour_distance,
    measure_batch,
)

USUAL = BatchFigures(100, {"Chair": 60, "Table": 30, NOTHING: 10}, 0.30, 1000)


def test_divergence_is_0_for_equal_shares_and_1_for_nothing_in_common() -> None:
    assert divergence({"a": 3, "b": 1}, {"a": 300, "b": 100}) == pytest.approx(0.0, abs=1e-12)
    assert divergence({"a": 5}, {"b": 7, "c": 1}) == pytest.approx(1.0)
    p, q, middle = np.array([0.5, 0.5]), np.array([0.9, 0.1]), np.array([0.7, 0.3])
    by_hand = (sum(p * np.log2(p / middle)) + sum(q * np.log2(q / middle))) / 2
    assert divergence({"a": 50, "b": 50}, {"a": 90, "b": 10}) == pytest.approx(by_hand)


def test_the_divergence_expected_by_chance_is_that_of_samples_from_one_distribution() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(12) * 3)
    found = []
    for _ in range(300):
        left, right = ({str(n): int(c) for n, c in enumerate(rng.multinomial(size, shares))} for size in (200, 2000))
        found.append(divergence(left, right))
    assert np.mean(found) == pytest.approx(chance_divergence(left, right), rel=0.15)


def test_the_usual_mix_passes_and_another_is_told_with_what_changed() -> None:
    earlier = [USUAL] * 5
    assert judge_class_mix(replace(USUAL, classes={"Chair": 55, "Table": 35, NOTHING: 10}), earlier, 0.2).passed
    verdict = judge_class_mix(replace(USUAL, classes={NOTHING: 95, "Chair": 5}), earlier, 0.2)
    assert not verdict.passed
    assert "(nothing detected) 95% instead of 10%" in verdict.message
    assert verdict.facts["shifts"][NOTHING] == (0.1, 0.95)


def test_small_batches_of_many_classes_do_not_cry_wolf() -> None:
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.ones(40))

    def drawn(products: int) -> BatchFigures:
        counts = rng.multinomial(products, shares)
        return BatchFigures(products, {f"c{n}": int(c) for n, c in enumerate(counts) if c}, None, 0)

    earlier = [drawn(40) for _ in range(8)]
    assert all(judge_class_mix(drawn(40), earlier, 0.1).passed for _ in range(50))


@pytest.mark.parametrize(
    ("figures", "earlier"),
    [
        (USUAL, []),
        (USUAL, [USUAL] * 2),
        (replace(USUAL, products=29), [USUAL] * 9),
        (replace(USUAL, distance=None), [USUAL] * 9),
        (USUAL, [replace(USUAL, reference=400)] * 9),
    ],
)
def test_with_little_to_compare_nothing_is_said(figures: BatchFigures, earlier: list[BatchFigures]) -> None:
    odd = replace(figures, distance=None if figures.distance is None else 1.5)
    assert judge_neighbour_distance(odd, earlier, 0.2).passed
    assert judge_class_mix(replace(figures, classes={"X": 29}, products=29), earlier, 0.2).passed


def test_pictures_unlike_all_before_and_copies_of_what_is_there_are_told() -> None:
    earlier = [replace(USUAL, distance=0.30 + 0.01 * n) for n in range(5)]
    assert judge_neighbour_distance(replace(USUAL, distance=0.45), earlier, 0.2).passed
    far = judge_neighbour_distance(replace(USUAL, distance=0.7), earlier, 0.2)
    near = judge_neighbour_distance(replace(USUAL, distance=0.0), earlier, 0.2)
    assert (far.passed, near.passed) == (False, False)
    assert "like nothing before" in far.message
    assert "copies" in near.message


def test_a_shop_whose_batches_always_differ_is_not_warned_each_time() -> None:
    earlier = [replace(USUAL, distance=distance) for distance in (0.1, 0.5, 0.2, 0.6, 0.35)]
    assert judge_neighbour_distance(replace(USUAL, distance=0.75), earlier, 0.2).passed


def test_figures_are_measured_against_earlier_batches_and_kept(shop: Shop, server: FaultServer) -> None:
    first = shop.register(shop.catalog("a", rows_of(server, ["oak-chair", "box", "bootie"])))
    second = shop.register(shop.catalog("b", [{"id": "copy", "url": server.url("/box.png")}]))
    for batch in (first, second):
        shop.work(batch)
    deployment = shop.deployment
    embeddings = deployment.extractor.embeddings_fingerprint(deployment.detector)
    assert earlier_figures(deployment.store, first, embeddings) == []
    (kept,) = earlier_figures(deployment.store, second, embeddings)
    assert (kept.products, kept.distance, kept.reference) == (3, None, 0)
    figures = measure_batch(deployment.store, second, embeddings)
    assert (figures.products, figures.reference) == (1, 3)
    assert figures.distance == pytest.approx(0.0, abs=1e-6)
