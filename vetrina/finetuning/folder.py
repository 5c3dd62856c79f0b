"""A fine-tuned model's folder in the store: written file by file, its description last and only once.

A folder without `model.json` is no model yet, so a run that is killed publishes nothing. The fingerprint names the
network's numbers and its preprocessing, so the same training gives the same folder, and the first one stays.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.embedding.tuned import (
    CARD_FILE,
    KERAS_FILE,
    MANIFEST,
    TunedModel,
    tuned_folder,
    tuned_model,
)
from vetrina.finetuning.card import CONFUSION_FILE, CURVES_FILE, card
from vetrina.finetuning.charts import confusion_png, curves_png
from vetrina.finetuning.document import as_html, as_markdown
from vetrina.finetuning.outcome import Outcome
from vetrina.models import sha256_hex
from vetrina.store import Store
from vetrina.tables import SPLIT, write_table

CARD_TEXT_FILE, SPLIT_FILE, LOGS = "card.md", "split.parquet", "tensorboard"


def weights_digest(model: Any) -> str:
    """sha256 of a Keras model's numbers, in the order of its layers, with their shapes."""
    digest = hashlib.sha256()
    for variable in model.weights:
        values = np.ascontiguousarray(variable.numpy() if hasattr(variable, "numpy") else variable)
        digest.update(f"{values.shape}{values.dtype}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def keras_file(model: Any) -> bytes:
    """The Keras model as a `.keras` archive: its layers as JSON, its numbers as HDF5, no code."""
    with tempfile.TemporaryDirectory(prefix="vetrina-keras-") as folder:
        file = Path(folder) / KERAS_FILE
        model.save(file)
        return file.read_bytes()


def charts_of(summary: Mapping[str, Any]) -> dict[str, bytes]:
    """File name → PNG of the confusion matrix and of the curves that a model's summary tells."""
    confusion = summary["outcome"]["classification"]["confusion"]
    return {
        CONFUSION_FILE: confusion_png(confusion["classes"], np.array(confusion["counts"], np.int64)),
        CURVES_FILE: curves_png(summary["history"], summary["best_epoch"]),
    }


def publish_model(
    store: Store, model: TunedModel, networks: Mapping[str, bytes], outcome: Outcome, logs: Path
) -> TunedModel:
    """Write a model's folder; what stands there under the same fingerprint already stays.

    Args:
        model: its description, without files.
        networks: LITERT_FILE and KERAS_FILE with their contents.
        logs: folder of TensorBoard's event files; may be missing.

    Returns:
        The model as it stands in the store.

    Raises:
        StoreError: it cannot be written.
    """
    folder = tuned_folder(model.fingerprint)
    with store.exclusive(f"model-{model.fingerprint}"):
        if not store.exists(f"{folder}/{MANIFEST}"):
            charts = charts_of(model.summary)
            blocks = card(model, charts)
            files = {
                **networks,
                **charts,
                CARD_FILE: as_html(f"Fine-tuned extractor {model.handle}", blocks).encode(),
                CARD_TEXT_FILE: as_markdown(blocks).encode(),
                **{f"{LOGS}/{file.name}": file.read_bytes() for file in sorted(logs.glob("events.*"))},
            }
            for name, data in files.items():
                store.write(f"{folder}/{name}", data)
            write_table(store, f"{folder}/{SPLIT_FILE}", SPLIT, _split_rows(outcome))
            files[SPLIT_FILE] = store.read(f"{folder}/{SPLIT_FILE}")
            checked = dataclasses.replace(model, files={name: sha256_hex(data) for name, data in files.items()})
            store.create(f"{folder}/{MANIFEST}", checked.as_bytes())
        return tuned_model(store, model.fingerprint)


def _split_rows(outcome: Outcome) -> list[dict[str, Any]]:
    rows = []
    for product_id, part in sorted(outcome.split.items()):
        label, predicted = outcome.answers.get(product_id, (None, None))
        rows.append({"product_id": product_id, "part": part, "label": label, "predicted": predicted})
    return rows
