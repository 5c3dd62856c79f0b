"""What an extractor costs, measured in a process of its own."""

import numpy as np
import pytest
from support.extractors import HANDLE, Colours, offer_colours

from vetrina.errors import ModelError
from vetrina.evaluation import speed
from vetrina.evaluation.speed import measure_speed
from vetrina.store import Store

CROPS = [np.full((20 + number, 30, 3), number, np.uint8) for number in range(3)]


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def test_times_and_memory_of_a_model_are_its_own(store: Store, bundled_models: None) -> None:
    found = measure_speed("bundled:efficientnet-lite0", store, CROPS)
    assert found.dims == 1280
    for series in (found.single, found.batch):
        assert set(series) == {"cpu_p50", "cpu_p99", "wall_p50", "wall_p99"}
        assert 0.5 < series["cpu_p50"] <= series["cpu_p99"]  # a network of 0.4 GFLOP cannot be faster
        assert 0 < series["wall_p50"] <= series["wall_p99"]
    assert found.opened_in > 0
    assert 10 < found.peak_mib < 2000  # its weights alone are 18 MiB
    assert found.loaded_mib <= found.peak_mib


def test_a_model_that_costs_next_to_nothing_is_told_apart(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_colours(monkeypatch)
    found = measure_speed(HANDLE, store, CROPS)
    assert found.dims == Colours.dims
    assert found.single["cpu_p50"] < 0.5
    assert found.peak_mib < 10


def test_a_model_that_is_unknown_is_one_sentence(store: Store) -> None:
    with pytest.raises(ModelError, match=r"^Unknown extractor 'bundled:efficientnet-lite00': did you mean"):
        measure_speed("bundled:efficientnet-lite00", store, CROPS)


def test_a_process_that_dies_is_reported_with_its_last_words(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "__name__", "no.such.module")
    with pytest.raises(ModelError, match=r"Measuring the model 'test:x' ended with exit code 1: .*no\.such\.module"):
        measure_speed("test:x", store, CROPS)


def test_a_process_that_takes_too_long_is_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_LONGEST", 0.01)
    with pytest.raises(ModelError, match=r"did not embed 3 crops within 0 s"):
        measure_speed("bundled:efficientnet-lite0", store, CROPS)
