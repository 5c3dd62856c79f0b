"""The index's arithmetic by NumPy and by TensorFlow (here on the processor): the same neighbours, the same index."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_samples import opened, shop, table, unit

from vetrina.errors import SettingError
from vetrina.index import candidates
from vetrina.index import device as module
from vetrina.index.build import build_index
from vetrina.index.device import Device, NumpyDevice, TensorFlowDevice, choose_device
from vetrina.index.recall import exact_truth
from vetrina.index.settings import IndexSettings
from vetrina.index.table import similar_products


@pytest.fixture(scope="module")
def tensorflow() -> TensorFlowDevice:
    return TensorFlowDevice("cpu")


def _by_sorting(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """What top_k must give, the slow way."""
    scores = (queries.astype(np.float64) @ vectors.T.astype(np.float64)).astype(np.float32)
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(scores, rows, axis=1)


# Quarters and few dimensions: products are exact whoever adds them, and many are equal.
_QUARTERS = st.integers(-4, 4).map(lambda whole: whole / 4)


@st.composite
def _crowds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Queries and vectors with copies of each other, and k."""
    dims = draw(st.integers(1, 5))
    row = st.lists(_QUARTERS, min_size=dims, max_size=dims)
    vectors = draw(st.lists(row, min_size=1, max_size=40))
    vectors += draw(st.lists(st.sampled_from(vectors), max_size=20))
    queries = draw(st.lists(st.one_of(row, st.sampled_from(vectors)), min_size=1, max_size=9))
    return np.array(queries, np.float32), np.array(vectors, np.float32), draw(st.integers(1, 70))


@given(crowd=_crowds(), rows=st.integers(1, 17), cells=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_both_give_the_nearest_in_order_and_the_lower_row_among_equals(
    tensorflow: TensorFlowDevice, crowd: tuple[np.ndarray, np.ndarray, int], rows: int, cells: int
) -> None:
    queries, vectors, k = crowd
    expected_rows, expected_scores = _by_sorting(queries, vectors, k)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_CELLS": cells, "_CARD_CELLS": cells, "_CARD_ROWS": rows}.items():
            patch.setattr(module, name, value)
        for device in (NumpyDevice(), tensorflow):
            found_rows, found_scores = device.top_k(queries, vectors, k)
            np.testing.assert_array_equal(found_rows, expected_rows)
            np.testing.assert_array_equal(found_scores, expected_scores)
            assert (found_rows.dtype, found_scores.dtype) == (np.int64, np.float32)


def test_both_agree_on_vectors_like_those_of_pictures(
    tensorflow: TensorFlowDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CARD_ROWS", 1000)
    vectors = unit(np.random.default_rng(3).standard_normal((3000, 128)))
    vectors[1500:1600] = vectors[:100]
    queries = vectors[::7]
    plain, card = NumpyDevice().top_k(queries, vectors, 25), tensorflow.top_k(queries, vectors, 25)
    np.testing.assert_allclose(plain[1], card[1], atol=1e-5)
    # Neighbours may change places only where their scores are equal but for rounding.
    swapped = plain[0] != card[0]
    again = np.einsum("qd,qkd->qk", queries, vectors[card[0]])
    np.testing.assert_allclose(plain[1][swapped], again[swapped], atol=1e-5)
    assert swapped.mean() < 0.05


def test_sums_of_products_of_whole_numbers_are_the_same_to_the_bit(tensorflow: TensorFlowDevice) -> None:
    whole = np.rint(np.random.default_rng(5).uniform(-(1 << 15), 1 << 15, (5000, 90)))
    np.testing.assert_array_equal(tensorflow.gram(whole), NumpyDevice().gram(whole))


def test_the_truth_of_the_recall_gate_is_the_same(tensorflow: TensorFlowDevice, card: Device) -> None:
    vectors = unit(np.random.default_rng(7).standard_normal((2000, 40)))
    vectors[1000:1030] = vectors[0]  # more copies than neighbours are wanted
    queries = np.r_[0:50, 1000:1030]
    plain, other = (exact_truth(vectors, queries, 10, device) for device in ("cpu", "gpu"))
    np.testing.assert_allclose(plain.kth, other.kth, atol=1e-6)
    assert (plain.kth[:1] > 1 - 1e-6).all()
    for at in (3, 55):
        others = np.delete(vectors @ vectors[queries[at]], queries[at])
        assert plain.kth[at] == pytest.approx(np.sort(others)[-10], abs=1e-6)


@pytest.fixture
def card(tensorflow: TensorFlowDevice, monkeypatch: pytest.MonkeyPatch) -> Device:
    """The setting "gpu" gives TensorFlow on the processor: this machine need not have a card."""
    monkeypatch.setattr(module, "_card", lambda: tensorflow)
    return tensorflow


def test_lists_settle_the_table_of_an_ordinary_shop(
    card: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> np.ndarray:
        raise AssertionError("All scores are not to be computed")

    monkeypatch.setattr(candidates, "_scores", never)
    index = opened(shop(400, 16, seed=2, crops=3), tmp_path)
    (lines,) = similar_products(index, 10, same_class=False, min_score=None, device=card)
    assert lines.num_rows == 4000


@pytest.mark.parametrize("same_class", [False, True])
@pytest.mark.parametrize("k", [1, 7, 300])
def test_the_table_is_the_same_line_for_line(card: Device, tmp_path: Path, same_class: bool, k: int) -> None:
    items = shop(150, 8, seed=2, crops=3)
    # A crowd of copies: more than a list holds, so the list alone does not settle who comes first.
    items += [(f"copy{number:03d}", f"x{number}", "whole", None, None, items[0][5]) for number in range(120)]
    index = opened(items, tmp_path)
    plain, other = (
        pa.concat_tables(similar_products(index, k, same_class=same_class, min_score=None, device=device))
        for device in (NumpyDevice(), card)
    )
    assert plain.num_rows > 200
    assert plain.equals(other)


def test_the_index_is_the_same_byte_for_byte(card: Device, tmp_path: Path) -> None:
    tables = [table(shop(600, 24, seed=9))]
    choice = IndexSettings(projection_dims=12)
    folders = {}
    for device in ("cpu", "gpu"):
        folders[device] = tmp_path / device
        manifest = build_index(
            lambda: iter(tables), folders[device], choice, fingerprints={}, sources={}, device=device
        )
        assert manifest.projection is not None
    for file in ("vectors.npy", "items.parquet", "projection.npz", "index.ann"):
        assert (folders["cpu"] / file).read_bytes() == (folders["gpu"] / file).read_bytes(), file


def test_auto_takes_the_processor_for_small_work_and_where_there_is_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> Device:
        raise AssertionError("TensorFlow is not to be asked")

    monkeypatch.setattr(module, "_card", never)
    monkeypatch.setattr(module, "card_present", lambda: False)
    assert isinstance(choose_device("auto", 1e18), NumpyDevice)
    monkeypatch.setattr(module, "card_present", lambda: True)
    assert isinstance(choose_device("auto", 1e9), NumpyDevice)
    assert isinstance(choose_device("cpu", 1e18), NumpyDevice)


def test_auto_takes_the_card_for_large_work(card: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "card_present", lambda: True)
    assert choose_device("auto", 1e13) is card


def test_a_card_that_tensorflow_cannot_use_is_said_and_refused_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def blind() -> Device:
        raise SettingError("TensorFlow sees no GPU")

    monkeypatch.setattr(module, "_card", blind)
    monkeypatch.setattr(module, "card_present", lambda: True)
    assert isinstance(choose_device("auto", 1e13), NumpyDevice)
    assert "TensorFlow sees no GPU" in caplog.text
    with pytest.raises(SettingError, match="no GPU"):
        choose_device("gpu", 1.0)


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(SettingError, match="VETRINA_INDEX_DEVICE is 'tpu'; use one of auto, cpu, gpu"):
        choose_device("tpu", 1.0)


def test_an_index_without_a_card_does_not_import_tensorflow() -> None:
    code = (
        "import sys, numpy as np\nfrom vetrina.index import device\ndevice.card_present = lambda: False\n"
        "device.choose_device('auto', 1e18).top_k(np.eye(3, dtype='f4'), np.eye(3, dtype='f4'), 2)\n"
        "import vetrina.index.publishing\nassert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
