"""Fine-tuned extractors: what a model's folder in the store says of itself, and how it is brought here and opened.

A model lies in the store at `models/<fingerprint>/`. Its `model.json` is written last, so a folder without one is no
model yet. On this machine its files are copied to `tuned/<fingerprint>/` in the models folder, checked by checksum.
Belongs here: reading. Does not belong here: how such a folder comes to be (`vetrina.finetuning`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vetrina.accelerator import has_card, tensorflow
from vetrina.embedding.backbone import Backbone
from vetrina.embedding.extractor import Extractor, ExtractorFamily, ExtractorIdentity
from vetrina.embedding.on_litert import LiteRTExtractor
from vetrina.embedding.on_tensorflow import TensorFlowExtractor, traced
from vetrina.embedding.preprocessing import Preprocessing
from vetrina.errors import ModelError
from vetrina.models import fingerprint_of, models_folder, sha256_hex, write_atomically
from vetrina.models.families import Report
from vetrina.models.handles import TUNED, Handle
from vetrina.store import Store

MANIFEST = "model.json"
LITERT_FILE = "extractor.tflite"
KERAS_FILE = "extractor.keras"
CARD_FILE = "card.html"
CODE_VERSION = 1
"""Raised when the same weights would give other vectors."""
_LISTED = 5


@dataclass(frozen=True, slots=True)
class TunedModel:
    """What a model's folder says of itself.

    Attributes:
        weights: sha256 of the network's numbers; with preprocessing, dims and code version it makes the fingerprint.
        dims: numbers of a vector.
        base: the extractor that training started from: handle and fingerprint.
        classes: what it was taught to tell apart.
        plan: how it was trained, as plain values.
        training: digest of plan and training set: the same training again gives this model.
        summary: the measured figures, as plain values.
        trained_at: when, UTC, as ISO 8601.
        files: name in the folder → sha256.
    """

    weights: str
    preprocessing: Preprocessing
    dims: int
    base: dict[str, str]
    classes: tuple[str, ...]
    plan: dict[str, Any]
    training: str
    summary: dict[str, Any]
    trained_at: str
    files: dict[str, str]
    code: int = CODE_VERSION

    @property
    def fingerprint(self) -> str:
        """Of weights, preprocessing, dims and code version; the date has no part in it."""
        return fingerprint_of(
            {
                "weights": self.weights,
                "preprocessing": self.preprocessing.as_json(),
                "output": [self.dims, "l2"],
                "code": self.code,
            }
        )

    @property
    def handle(self) -> str:
        """What opens it as an extractor."""
        return f"{TUNED}/{self.fingerprint}"

    def as_bytes(self) -> bytes:
        """As kept in `model.json`."""
        values = {
            "handle": self.handle,
            "fingerprint": self.fingerprint,
            "weights": self.weights,
            "preprocessing": self.preprocessing.as_json(),
            "dims": self.dims,
            "code": self.code,
            "base": self.base,
            "classes": list(self.classes),
            "plan": self.plan,
            "training": self.training,
            "summary": self.summary,
            "trained_at": self.trained_at,
            "files": self.files,
        }
        return json.dumps(values, ensure_ascii=False, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes, fingerprint: str) -> TunedModel:
        """What `as_bytes` gave. Raises ModelError: it is something else, or of a model other than `fingerprint`."""
        try:
            values = json.loads(data)
            found = cls(
                weights=str(values["weights"]),
                preprocessing=Preprocessing.from_json(values["preprocessing"]),
                dims=int(values["dims"]),
                base={name: str(values["base"][name]) for name in ("handle", "fingerprint")},
                classes=tuple(map(str, values["classes"])),
                plan=dict(values["plan"]),
                training=str(values["training"]),
                summary=dict(values["summary"]),
                trained_at=str(values["trained_at"]),
                files={str(name): str(sha256) for name, sha256 in values["files"].items()},
                code=int(values["code"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{MANIFEST} of {TUNED}/{fingerprint} cannot be used ({error!r}): restore the folder from a backup, "
                "or delete it and train again"
            ) from error
        if found.fingerprint != fingerprint:
            raise ModelError(
                f"{MANIFEST} of {TUNED}/{fingerprint} describes another model, {found.fingerprint}: restore the folder "
                "from a backup, or delete it and train again"
            )
        return found


def tuned_folder(fingerprint: str) -> str:
    """Where a model lies in the store."""
    return f"{TUNED}/{fingerprint}"


def tuned_model(store: Store, fingerprint: str) -> TunedModel:
    """What a model of the store says of itself.

    Raises:
        ModelError: there is no such model (names those that there are), or its description is damaged.
    """
    try:
        data = store.read(f"{tuned_folder(fingerprint)}/{MANIFEST}")
    except FileNotFoundError:
        raise _missing(store, fingerprint) from None
    return TunedModel.from_bytes(data, fingerprint)


def tuned_models(store: Store) -> list[TunedModel]:
    """All models of the store that can be used, the newest first."""
    found = []
    for name in store.names(TUNED):
        try:
            found.append(TunedModel.from_bytes(store.read(f"{tuned_folder(name)}/{MANIFEST}"), name))
        except (FileNotFoundError, ModelError):
            continue  # not finished, or damaged: whoever asks for it by name is told
    return sorted(found, key=lambda model: (model.trained_at, model.fingerprint), reverse=True)


def _missing(store: Store, fingerprint: str) -> ModelError:
    models = tuned_models(store)
    if not models:
        said = "it has no fine-tuned model yet: vetrina finetune --label ATTRIBUTE"
    else:
        listed = [f"{one.handle} ({one.plan.get('label')}, {one.trained_at[:10]})" for one in models[:_LISTED]]
        more = f" and {len(models) - _LISTED} older" if len(models) > _LISTED else ""
        said = f"it has {', '.join(listed)}{more}"
    return ModelError(f"There is no model {TUNED}/{fingerprint} in {store.root}; {said}")


def _copies(fingerprint: str) -> Path:
    return models_folder() / "tuned" / fingerprint


def _copied(fingerprint: str, name: str) -> tuple[TunedModel, bytes] | None:
    """A model and one of its files as they lie on this machine; None when they do not, or are not what they were."""
    folder = _copies(fingerprint)
    try:
        model = TunedModel.from_bytes((folder / MANIFEST).read_bytes(), fingerprint)
        data = (folder / name).read_bytes()
    except (OSError, ModelError):
        return None
    return (model, data) if sha256_hex(data) == model.files.get(name) else None


def _brought(fingerprint: str, name: str, store: Store | None) -> tuple[TunedModel, bytes]:
    """A model and one of its files, copied from the store first where this machine has no right copy."""
    found = _copied(fingerprint, name)
    if found is not None:
        return found
    handle = f"{TUNED}/{fingerprint}"
    if store is None:
        raise ModelError(
            f"The model {handle} is not on this machine yet: run vetrina models with VETRINA_EXTRACTOR={handle}"
        )
    model = tuned_model(store, fingerprint)
    where = f"{tuned_folder(fingerprint)}/{name} in {store.root}"
    mend = "restore it from a backup, or delete its folder and train again"
    try:
        data = store.read(f"{tuned_folder(fingerprint)}/{name}")
    except FileNotFoundError:
        raise ModelError(f"{where} is missing: {mend}") from None
    if sha256_hex(data) != model.files.get(name):
        raise ModelError(f"{where} is altered or cut: {mend}")
    write_atomically(_copies(fingerprint) / name, data)
    write_atomically(_copies(fingerprint) / MANIFEST, model.as_bytes())
    return model, data


def _identify(handle: Handle) -> ExtractorIdentity:
    handle.chosen()
    return ExtractorIdentity(handle.text, handle.name)


def _prepare(handle: Handle, store: Store | None, report: Report) -> None:
    _identify(handle)
    for name in (LITERT_FILE, KERAS_FILE):
        _brought(handle.name, name, store)
    report(f"Extractor {handle.text} is in place: {_copies(handle.name) / LITERT_FILE}")


def _open(handle: Handle, store: Store | None) -> Extractor:
    _identify(handle)
    if not has_card():
        model, data = _brought(handle.name, LITERT_FILE, store)
        return LiteRTExtractor(handle.text, handle.name, model.dims, model.preprocessing, data)
    model, _ = _brought(handle.name, KERAS_FILE, store)
    network = traced(tuned_backbone(handle).build())
    return TensorFlowExtractor(handle.text, handle.name, model.dims, model.preprocessing, network)


def _files(handle: Handle) -> list[Path]:
    return [_copies(handle.name) / name for name in (MANIFEST, LITERT_FILE, KERAS_FILE)]


FAMILY: ExtractorFamily = ExtractorFamily(_identify, _prepare, _open, _files)


def tuned_backbone(handle: Handle) -> Backbone:
    """The network for training further, out of this machine's copy. Raises ModelError: not prepared, or damaged."""
    _identify(handle)
    model, _ = _brought(handle.name, KERAS_FILE, None)
    file = _copies(handle.name) / KERAS_FILE
    return Backbone(handle.text, handle.name, model.preprocessing, model.dims, lambda: _load(handle, file))


def _load(handle: Handle, file: Path) -> Any:
    tensorflow()
    import keras

    try:
        return keras.models.load_model(file, compile=False)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise ModelError(f"The network of {handle.text} cannot be built from {file}: {error}") from error
