"""The tiny network of `drawn` as an extractor of a test's own, and as a fine-tuned model of a store."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support.drawn import COLOURS, tiny_backbone, tiny_network
from vetrina.embedding.on_litert import converted_anew
from vetrina.embedding.on_tensorflow import TensorFlowExtractor
from vetrina.embedding.tuned import KERAS_FILE, LITERT_FILE, TunedModel
from vetrina.finetuning.folder import keras_file, publish_model, weights_digest
from vetrina.finetuning.outcome import Outcome
from vetrina.finetuning.plan import Plan
from vetrina.store import Store

HANDLE = "test:tiny"
FINGERPRINT, DIMS, PREPROCESSING = tiny_backbone().fingerprint, tiny_backbone().dims, tiny_backbone().preprocessing
LABELS = tuple(COLOURS)


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
    environment.setitem(backbone._BACKBONES, "test", lambda handle: replace(tiny_backbone(), handle=HANDLE))


def png(pixels: np.ndarray) -> bytes:
    """The picture as a PNG file."""
    return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()


def noise(count: int) -> Sequence[np.ndarray]:
    """Pictures of noise, uint8 [40, 50, 3]."""
    return list(np.random.default_rng(5).integers(0, 256, (count, 40, 50, 3), np.uint8))


def publish_tiny(store: Store, logs: Path) -> TunedModel:
    """Publishes the network as a fine-tuned model whose figures are made up."""
    network = tiny_network()
    outcome = made_up_outcome()
    model = TunedModel(
        weights=weights_digest(network),
        preprocessing=PREPROCESSING,
        dims=DIMS,
        base={"handle": HANDLE, "fingerprint": FINGERPRINT},
        classes=LABELS,
        plan=Plan(base=HANDLE, label="shape").as_json(),
        training="0" * 16,
        summary=summary_of(outcome),
        trained_at="2026-01-02T03:04:05+00:00",
        files={},
    )
    networks = {LITERT_FILE: converted_anew(network, PREPROCESSING, "tiny"), KERAS_FILE: keras_file(network)}
    return publish_model(store, model, networks, outcome, logs)


def made_up_outcome() -> Outcome:
    """Six products, of which one is taken for another class."""
    from vetrina.evaluation.classification import classification
    from vetrina.evaluation.intervals import Estimate
    from vetrina.finetuning.outcome import Retrieval

    truth, predicted = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 2])
    names = [f"{LABELS[code]} {number}" for number, code in enumerate(truth)]
    one = {"map@10": Estimate(0.5, 0.4, 0.6), "precision@5": Estimate(0.25, 0.2, 0.3)}
    return Outcome(
        part="test",
        split={"learnt 1": "train", "learnt 2": "validation", **dict.fromkeys(names, "test")},
        answers={name: (LABELS[a], LABELS[b]) for name, a, b in zip(names, truth, predicted, strict=True)},
        classification=classification(LABELS, truth, predicted),
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
        "classes": {name: {"train": 8, "validation": 2, "test": 2} for name in LABELS},
        "left_out": {"no label": 3},
        "classes_left_out": {"star": 2},
        "unreadable": 1,
        "duplicates": {"groups": 1, "products": 2},
        "history": history,
        "best_epoch": 2,
        "data_digest": "0" * 64,
        "outcome": outcome.as_json(),
    }
