"""Extractors of keras.applications: `keras:ResNet50V2`, `keras:MobileNetV2#alpha=1.4,weights=random`.

Options:
    weights     imagenet (the default; `vetrina models` fetches them), random (a trial of speed, never of likeness),
                or the path of a file that Keras saved
    alpha       the width of MobileNetV2
    precision   float32 (the default) or mixed: float16 arithmetic, for cards that have cores for it; other vectors

The network is taken without its classifier and averaged over the picture. On the processor LiteRT runs it, converted
once; on a card, and in mixed precision, TensorFlow does.
"""

from __future__ import annotations

import logging
import math
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vetrina.accelerator import has_card, tensorflow
from vetrina.embedding import keras_weights
from vetrina.embedding.backbone import Backbone
from vetrina.embedding.extractor import Extractor, ExtractorFamily, ExtractorIdentity
from vetrina.embedding.keras_table import APPLICATIONS, Application, wide_dims
from vetrina.embedding.on_litert import LiteRTExtractor, converted, files_of, kept_model, model_file
from vetrina.embedding.on_tensorflow import TensorFlowExtractor, traced
from vetrina.errors import ModelError
from vetrina.models import fingerprint_of
from vetrina.models.families import Report, unknown
from vetrina.models.handles import Handle

_log = logging.getLogger(__name__)
_CODE_VERSION = 1
_WIDEST = 4.0
_IMAGENET, _RANDOM = "imagenet", "random"
_FLOAT32, _MIXED = "float32", "mixed"
# Deviation of ImageNet's channels, 0..1. Keras's ImageNet EfficientNets divide by its root once more.
_DEVIATION = (0.229, 0.224, 0.225)
_building = threading.Lock()


@dataclass(frozen=True, slots=True)
class Chosen:
    """A handle of the family, understood.

    Attributes:
        text: the handle as given.
        name: of the application.
        application: the entry of the table.
        weights: "imagenet", "random" or a path.
        alpha: width; None where the application takes none.
        mixed: arithmetic in float16.
    """

    text: str
    name: str
    application: Application
    weights: str
    alpha: float | None
    mixed: bool

    @classmethod
    def of(cls, handle: Handle) -> Chosen:
        """Understand a handle. Raises ModelError for an unknown name, option or value."""
        if handle.name not in APPLICATIONS:
            raise unknown("extractor", f"keras:{handle.name}", [f"keras:{name}" for name in APPLICATIONS])
        application = APPLICATIONS[handle.name]
        options = handle.chosen("weights", "precision", *(["alpha"] if application.alphas else []))
        precision = options.get("precision", _FLOAT32)
        if precision not in (_FLOAT32, _MIXED):
            raise ModelError(f"The model {handle.text!r} has the precision {precision!r}; use {_FLOAT32} or {_MIXED}")
        weights = options.get("weights", _IMAGENET)
        alpha = _alpha(handle.text, options.get("alpha", "1")) if application.alphas else None
        if weights == _IMAGENET and alpha is not None and alpha not in application.alphas:
            raise ModelError(
                f"There are no ImageNet weights for {handle.text!r}: alpha may be "
                f"{', '.join(f'{each:g}' for each in application.alphas)}, or name a file by weights=/path/to/file.h5"
            )
        return cls(handle.text, handle.name, application, weights, alpha, precision == _MIXED)

    @property
    def dims(self) -> int:
        """How many numbers the network gives."""
        return self.application.dims if self.alpha is None else wide_dims(self.alpha)

    @property
    def slug(self) -> str:
        """What its ImageNet weights are kept under."""
        return self.name if self.alpha is None else f"{self.name}-{self.alpha:g}"

    @property
    def fingerprint(self) -> str:
        """Of the extractor. Raises ModelError: the weights are not there."""
        parts: dict[str, object] = {
            "network": self.name,
            "alpha": self.alpha,
            "weights": self._weights_digest(),
            "preprocess": self.application.preprocessing.as_json(),
            "output": ["mean-pool", self.dims, "l2"],
            "code": _CODE_VERSION,
        }
        return fingerprint_of(parts | ({"precision": _MIXED} if self.mixed else {}))

    def _weights_digest(self) -> str:
        if self.weights == _RANDOM:
            return keras_weights.RANDOM
        if self.weights == _IMAGENET:
            return self.fetched().sha256
        return keras_weights.digest_of(self.path)

    @property
    def path(self) -> Path:
        """Of a file of weights of one's own."""
        return Path(self.weights).expanduser()

    def fetched(self) -> keras_weights.Fetched:
        """The ImageNet weights in the models folder. Raises ModelError: they were not fetched."""
        found = keras_weights.fetched(self.slug)
        if found is None:
            raise ModelError(
                f"The weights of {self.text} were not fetched yet: run `vetrina models` with VETRINA_EXTRACTOR="
                f"{self.text}, or name a file by weights=/path/to/file.h5"
            )
        return found

    def construct(self, weights: str | None) -> Any:
        """The application as Keras makes it, without classifier, averaged."""
        import keras

        side = self.application.preprocessing.side
        width = {} if self.alpha is None else {"alpha": self.alpha}
        return getattr(keras.applications, self.name)(
            include_top=False,
            weights=weights,
            input_shape=(side, side, 3),
            pooling="avg",
            **width,
            **self.application.arguments,
        )


def _alpha(text: str, value: str) -> float:
    try:
        alpha = float(value)
    except ValueError:
        alpha = math.nan
    if not 0 < alpha <= _WIDEST:
        raise ModelError(f"The model {text!r} has the alpha {value!r}; use a number above 0, at most {_WIDEST:g}")
    return alpha


def build_network(chosen: Chosen) -> Any:
    """The network with its weights as a Keras model; loads TensorFlow. Raises ModelError: weights of no use."""
    if chosen.weights == _IMAGENET:
        kept = chosen.fetched()
        if keras_weights.digest_of(kept.path) != kept.sha256:
            raise ModelError(f"The weights {kept.path} are altered or cut: delete the file and run `vetrina models`")
        return _with_weights(chosen, kept.path)
    if chosen.weights != _RANDOM:
        return _with_weights(chosen, chosen.path)
    network = _bare(chosen)
    keras_weights.randomise(network)
    return network


def _with_weights(chosen: Chosen, path: Path) -> Any:
    keras_weights.digest_of(path)
    network = _bare(chosen)
    keras_weights.load(network, path, chosen.text)
    if chosen.application.module == "efficientnet":
        _divide_once_more(network)
    return network


def _bare(chosen: Chosen) -> Any:
    tensorflow()
    import keras

    with _building:  # the policy is the whole process's
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_float16" if chosen.mixed else "float32")
        try:
            return chosen.construct(None)
        finally:
            keras.config.set_dtype_policy(before)


def _divide_once_more(network: Any) -> None:
    """Do what Keras does to an EfficientNet for weights="imagenet" and for no other: divide by √deviation again.

    It does so in a layer of its own; dividing by the root of variance · deviation is the same.
    """
    for layer in network.layers:
        if type(layer).__name__ == "Normalization":
            layer.adapt_variance.assign(layer.adapt_variance * _DEVIATION)
            layer.finalize_state()


def keras_backbone(handle: Handle) -> Backbone:
    """The network for training further. Raises ModelError for an unknown handle or weights that are not there."""
    chosen = Chosen.of(handle)
    build = partial(build_network, chosen)
    return Backbone(handle.text, chosen.fingerprint, chosen.application.preprocessing, chosen.dims, build)


def _identify(handle: Handle) -> ExtractorIdentity:
    return ExtractorIdentity(handle.text, Chosen.of(handle).fingerprint)


def _prepare(handle: Handle, store: object, report: Report) -> None:
    chosen = Chosen.of(handle)
    if chosen.weights == _IMAGENET:
        _fetch(chosen, report)
    elif chosen.weights == _RANDOM:
        report(f"WARNING: {_random_warning(chosen)}")
    if not _on_litert(chosen):
        build_network(chosen)  # so that weights of no use are said now
    elif kept_model(chosen.fingerprint) is None:
        report(f"Extractor {chosen.text}: converting with TensorFlow, once (up to a minute)")
        _converted(chosen)
        report(f"Extractor {chosen.text} is in place: {model_file(chosen.fingerprint)}")
        return
    report(f"Extractor {chosen.text} is in place")


def _fetch(chosen: Chosen, report: Report) -> None:
    kept = keras_weights.fetched(chosen.slug)
    if kept is not None and kept.path.exists() and keras_weights.digest_of(kept.path) == kept.sha256:
        return
    tensorflow()
    published = keras_weights.published_by(lambda: chosen.construct(_IMAGENET))
    keras_weights.fetch(chosen.text, chosen.slug, published, lambda file: _check(chosen, file), report)


def _check(chosen: Chosen, file: Path) -> None:
    _with_weights(chosen, file)


def _random_warning(chosen: Chosen) -> str:
    return f"{chosen.text} has random weights: it shows how fast the network is, and its neighbours mean nothing"


def _on_litert(chosen: Chosen) -> bool:
    return not chosen.mixed and not has_card()


def _converted(chosen: Chosen) -> bytes:
    build = partial(build_network, chosen)
    return converted(chosen.fingerprint, build, chosen.application.preprocessing, chosen.text)


def _open(handle: Handle, store: object) -> Extractor:
    chosen = Chosen.of(handle)
    if chosen.weights == _RANDOM:
        _log.warning(_random_warning(chosen))
    if _on_litert(chosen):
        return LiteRTExtractor(
            chosen.text, chosen.fingerprint, chosen.dims, chosen.application.preprocessing, _converted(chosen)
        )
    return TensorFlowExtractor(
        chosen.text, chosen.fingerprint, chosen.dims, chosen.application.preprocessing, traced(build_network(chosen))
    )


def _files(handle: Handle) -> list[Path]:
    chosen = Chosen.of(handle)
    weights = keras_weights.files_of(chosen.slug) if chosen.weights == _IMAGENET else []
    return [*weights, *files_of(chosen.fingerprint)]


FAMILY: ExtractorFamily = ExtractorFamily(_identify, _prepare, _open, _files)
