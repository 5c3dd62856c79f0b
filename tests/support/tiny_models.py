"""A tiny network that can be taught in seconds, as an extractor of a test's own, and pictures to teach it with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vetrina.embedding.backbone import Backbone
from vetrina.embedding.on_litert import converted
from vetrina.embedding.on_tensorflow import TensorFlowExtractor
from vetrina.embedding.preprocessing import Preprocessing
from vetrina.embedding.tuned import KERAS_FILE, LITERT_FILE, TunedModel
from vetrina.finetuning.folder import keras_file, publish_model, weights_digest
from vetrina.finetuning.outcome import Outcome
from vetrina.finetuning.plan import Plan
from vetrina.store import Store

HANDLE, FINGERPRINT = "test:tiny", "7171717171717171"
SIDE, DIMS = 32, 12
PREPROCESSING = Preprocessing(SIDE, mean=(127.0, 127.0, 127.0), scale=(128.0, 128.0, 128.0))
SHAPES = ("disc", "box", "cross")


def tiny_network(seed: int = 1) -> Any:
    """Two convolutions and a mean: float32 [n, 32, 32, 3] → [n, 12]."""
    import keras

    def start(more: int) -> Any:
        return keras.initializers.HeNormal(seed + more)

    picture = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(8, 5, 2, padding="same", activation="relu", kernel_initializer=start(0))(picture)
    x = keras.layers.Conv2D(DIMS, 5, 2, padding="same", activation="relu", kernel_initializer=start(1))(x)
    return keras.Model(picture, keras.layers.GlobalAveragePooling2D()(x))


def offer_tiny(environment: pytest.MonkeyPatch) -> None:
    """Makes the network known under its handle, as an extractor and as a backbone, for the length of a test."""
    from vetrina.embedding import backbone, extractor

    identity = extractor.ExtractorIdentity(HANDLE, FINGERPRINT)
    family = extractor.ExtractorFamily(
        identify=lambda handle: identity,
        prepare=lambda *_: None,
        open=lambda *_: TensorFlowExtractor(HANDLE, FINGERPRINT, DIMS, PREPROCESSING, tiny_network()),
    )
    environment.setitem(extractor._FAMILIES, "test", lambda: family)
    environment.setitem(
        backbone._BACKBONES, "test", lambda handle: Backbone(HANDLE, FINGERPRINT, PREPROCESSING, DIMS, tiny_network)
    )


def drawn(shape: str, number: int) -> np.ndarray:
    """A shape of its own colour, place and size on a ground of its own: uint8 [64, 64, 3] RGB."""
    rng = np.random.default_rng([SHAPES.index(shape), number])
    ground, colour = rng.integers(130, 256, 3).tolist(), rng.integers(0, 100, 3).tolist()
    pixels = np.full((64, 64, 3), ground, np.uint8)
    (x, y), r = rng.integers(24, 40, 2).tolist(), int(rng.integers(12, 20))
    if shape == "disc":
        cv2.circle(pixels, (x, y), r, colour, -1)
    elif shape == "box":
        cv2.rectangle(pixels, (x - r, y - r), (x + r, y + r), colour, -1)
    else:
        cv2.line(pixels, (x - r, y - r), (x + r, y + r), colour, 5)
        cv2.line(pixels, (x - r, y + r), (x + r, y - r), colour, 5)
    return pixels


def png(pixels: np.ndarray) -> bytes:
    """The picture as a PNG file."""
    return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()


def noise(count: int) -> Sequence[np.ndarray]:
    """Pictures of noise, uint8 [40, 50, 3]."""
    return list(np.random.default_rng(5).integers(0, 256, (count, 40, 50, 3), np.uint8))


def publish_tiny(
    store: Store, logs: Path, *, seed: int = 1, trained_at: str = "2026-01-02T03:04:05+00:00"
) -> TunedModel:
    """Publishes the network as a fine-tuned model whose figures are made up."""
    network = tiny_network(seed)
    outcome = made_up_outcome()
    model = TunedModel(
        weights=weights_digest(network),
        preprocessing=PREPROCESSING,
        dims=DIMS,
        base={"handle": HANDLE, "fingerprint": FINGERPRINT},
        classes=SHAPES,
        plan=Plan(base=HANDLE, label="shape").as_json(),
        training="0" * 16,
        summary=summary_of(outcome),
        trained_at=trained_at,
        files={},
    )
    networks = {LITERT_FILE: converted(network, PREPROCESSING, DIMS), KERAS_FILE: keras_file(network)}
    return publish_model(store, model, networks, outcome, logs)


def made_up_outcome() -> Outcome:
    """Six products, of which one is taken for another class."""
    from vetrina.evaluation.classification import classification
    from vetrina.evaluation.intervals import Estimate
    from vetrina.finetuning.outcome import Retrieval

    truth, predicted = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 2])
    names = [f"{SHAPES[code]} {number}" for number, code in enumerate(truth)]
    one = {"map@10": Estimate(0.5, 0.4, 0.6), "precision@5": Estimate(0.25, 0.2, 0.3)}
    return Outcome(
        part="test",
        split={"learnt 1": "train", "learnt 2": "validation", **dict.fromkeys(names, "test")},
        answers={name: (SHAPES[a], SHAPES[b]) for name, a, b in zip(names, truth, predicted, strict=True)},
        classification=classification(SHAPES, truth, predicted),
        retrieval=Retrieval(6, 30, one, one, one, one, one),
        unasked={},
    )


def summary_of(outcome: Outcome) -> dict[str, Any]:
    """What the card of a made-up fine-tuning tells."""
    history = [
        {
            "loss": 1 / epoch,
            "val_loss": 1.1 / epoch,
            "accuracy": 0.5,
            "val_accuracy": 0.4,
            "seconds": 2.0,
            "learning_rate": 1e-3,
        }
        for epoch in (1, 2, 3)
    ]
    return {
        "shop": "/shop/store",
        "index": "0123456789abcdef",
        "split": "part=held",
        "classes": {name: {"train": 8, "validation": 2, "test": 2} for name in SHAPES},
        "left_out": {"no label": 3},
        "classes_left_out": {"star": 2},
        "unreadable": 1,
        "duplicates": {"groups": 1, "products": 2},
        "history": history,
        "best_epoch": 2,
        "data_digest": "0" * 64,
        "outcome": outcome.as_json(),
    }
