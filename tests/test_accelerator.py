"""TensorFlow is set up once, the same for every user of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from vetrina import accelerator


def test_products_are_not_rounded_to_ten_bits() -> None:
    tf = accelerator.tensorflow()
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    assert accelerator.tensorflow() is tf


def test_a_card_shows_by_its_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(accelerator, "_CARD_SIGNS", (tmp_path / "none", tmp_path / "nvidia0"))
    assert not accelerator.card_present()
    (tmp_path / "nvidia0").touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert accelerator.card_present()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not accelerator.card_present()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert accelerator.card_present()


def test_the_memory_of_every_card_is_taken_as_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    tf = accelerator.tensorflow()
    grown: list[tuple[str, bool]] = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first", "second"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda card, on: grown.append((card, on)))
    accelerator.tensorflow.__wrapped__()
    assert grown == [("first", True), ("second", True)]


def test_memory_that_was_taken_before_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def late(card: str, on: bool) -> None:
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    tf = accelerator.tensorflow()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", late)
    accelerator.tensorflow.__wrapped__()
    assert "memory is not shared: Physical devices" in caplog.text


def test_the_device_is_named_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    tf = accelerator.tensorflow()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert accelerator.device_name().endswith("cores")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda card: {"device_name": "Card 7"})
    assert accelerator.device_name() == "Card 7"


def test_without_a_card_tensorflow_is_not_loaded_to_look_for_one() -> None:
    code = (
        "import sys\nfrom vetrina import accelerator\naccelerator._CARD_SIGNS = ()\n"
        "assert not accelerator.has_card() and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
