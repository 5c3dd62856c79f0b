"""The bundled extractors: EfficientNet-Lite 0, 1 and 2 (ImageNet), 1280 numbers each.

    bundled:efficientnet-lite0                   224 px; the default
    bundled:efficientnet-lite1                   240 px, half as much work again
    bundled:efficientnet-lite2                   260 px, twice the work
    bundled:efficientnet-lite0#precision=int8    also float16; what that costs: `vetrina.embedding.precision`

On the processor LiteRT runs them, converted once by TensorFlow; on a graphics card TensorFlow does, in batches, with
the same vectors. A reduced precision is LiteRT's, wherever it runs. Preprocessing is bound to the model here and
nowhere else; every caller, whatever the picture's way, passes through `embed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vetrina.accelerator import has_card
from vetrina.embedding.backbone import Backbone
from vetrina.embedding.extractor import Extractor, ExtractorFamily, ExtractorIdentity
from vetrina.embedding.legacy_torch import read_legacy_torch
from vetrina.embedding.lite_keras import DIMS, NETWORKS, LiteBuilder
from vetrina.embedding.on_litert import LiteRTExtractor, converted, files_of, kept_model, model_file
from vetrina.embedding.on_tensorflow import TensorFlowExtractor, traced
from vetrina.embedding.precision import FLOAT32, PRECISIONS, RECIPES
from vetrina.embedding.preprocessing import Preprocessing
from vetrina.errors import ModelError
from vetrina.models import fingerprint_of
from vetrina.models.bundled import LITE_WEIGHTS
from vetrina.models.families import Report, unknown
from vetrina.models.handles import Handle

_CODE_VERSION = 1


@dataclass(frozen=True, slots=True)
class LiteModel:
    """What a handle chooses, known without the weights.

    Attributes:
        text: the handle.
        name: the member of the family, a key of `NETWORKS`.
        precision: one of `PRECISIONS`.
    """

    text: str
    name: str
    precision: str

    @classmethod
    def of(cls, handle: Handle) -> LiteModel:
        """The model that a handle chooses. Raises ModelError, with what there is."""
        if handle.name not in NETWORKS:
            raise unknown("extractor", handle.text, [f"bundled:{name}" for name in NETWORKS])
        precision = handle.chosen("precision").get("precision", FLOAT32)
        if precision not in PRECISIONS:
            raise ModelError(
                f"The model {handle.text!r} has the precision {precision!r}; use one of {', '.join(PRECISIONS)}"
            )
        return cls(handle.text, handle.name, precision)

    @property
    def preprocessing(self) -> Preprocessing:
        """What its pictures go through: RGB letterboxed, (x - 127) / 128."""
        return Preprocessing(NETWORKS[self.name].side, mean=(127.0, 127.0, 127.0), scale=(128.0, 128.0, 128.0))

    @property
    def fingerprint(self) -> str:
        """As of `Extractor`."""
        side = NETWORKS[self.name].side
        parts: dict[str, object] = {
            "weights": LITE_WEIGHTS[self.name].sha256,
            "preprocess": ["letterbox", "border-mean", side, "area-or-cubic", "(x-127)/128"],
            "output": ["mean-pool", DIMS, "l2"],
            "code": _CODE_VERSION,
        }
        if self.precision != FLOAT32:
            parts["precision"] = RECIPES[self.precision]
        return fingerprint_of(parts)

    def network(self, *, folded: bool = True, classifier: bool = False) -> Any:
        """The network in Keras, at full precision; loads TensorFlow. See `LiteBuilder`. Raises ModelError."""
        weights = read_legacy_torch(LITE_WEIGHTS[self.name].read())
        return LiteBuilder(NETWORKS[self.name], weights, folded=folded).build(classifier=classifier)

    def converted(self) -> bytes:
        """The model for LiteRT, made where it was not yet. Raises ModelError."""
        return converted(self.fingerprint, self.network, self.preprocessing, self.text, self.precision)


def lite_backbone(handle: Handle) -> Backbone:
    """The network for training further. Raises ModelError for an unknown handle or a reduced precision."""
    model = LiteModel.of(handle)
    if model.precision != FLOAT32:
        raise ModelError(
            f"{handle.text} cannot be trained further, for its weights are rounded: take bundled:{model.name}"
        )
    return Backbone(handle.text, model.fingerprint, model.preprocessing, DIMS, model.network)


def _identify(handle: Handle) -> ExtractorIdentity:
    return ExtractorIdentity(handle.text, LiteModel.of(handle).fingerprint)


def _on_litert(model: LiteModel) -> bool:
    return model.precision != FLOAT32 or not has_card()


def _prepare(handle: Handle, store: object, report: Report) -> None:
    model = LiteModel.of(handle)
    # On a card the packaged weights are all that is needed, but a machine may lose its card: the file is made anyway.
    if kept_model(model.fingerprint) is None:
        report(f"Extractor {model.text}: converting with TensorFlow, once (up to half a minute)")
        model.converted()
    report(f"Extractor {model.text} is in place: {model_file(model.fingerprint)}")


def _open(handle: Handle, store: object) -> Extractor:
    model = LiteModel.of(handle)
    if _on_litert(model):
        return LiteRTExtractor(model.text, model.fingerprint, DIMS, model.preprocessing, model.converted())
    return TensorFlowExtractor(model.text, model.fingerprint, DIMS, model.preprocessing, traced(model.network()))


def _files(handle: Handle) -> list[Path]:
    return files_of(LiteModel.of(handle).fingerprint)


FAMILY: ExtractorFamily = ExtractorFamily(_identify, _prepare, _open, _files)
