"""The bundled extractor: EfficientNet-Lite0 (ImageNet), 1280 numbers, run by LiteRT.

Preprocessing is bound to the model here and nowhere else; every caller, whatever the picture's way, passes
through `embed`. TensorFlow is loaded once, by `fetch_extractor`, to convert the weights.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.embedding.backbone import Backbone
from vetrina.embedding.extractor import DEFAULT_EXTRACTOR, Extractor, ExtractorFamily, ExtractorIdentity
from vetrina.embedding.legacy_torch import read_legacy_torch
from vetrina.embedding.lite0_keras import DIMS, SIDE, Lite0Builder, convert_to_litert
from vetrina.embedding.preprocessing import Preprocessing, normalised
from vetrina.errors import ModelError
from vetrina.interpreters import InterpreterPool
from vetrina.models import fingerprint_of, models_folder, read_pinned, sha256_hex, write_atomically
from vetrina.models.bundled import LITE0_WEIGHTS_SHA256, lite0_weights
from vetrina.models.families import Report, unknown
from vetrina.models.handles import Handle

# No path to a vector (Keras, folded, LiteRT, any thread) may differ from another by more, in any number.
MAX_DIFFERENCE = 1e-5
_CODE_VERSION = 1
PREPROCESSING = Preprocessing(SIDE, mean=(127.0, 127.0, 127.0), scale=(128.0, 128.0, 128.0))
FINGERPRINT = fingerprint_of(
    {
        "weights": LITE0_WEIGHTS_SHA256,
        "preprocess": ["letterbox", "border-mean", SIDE, "area-or-cubic", "(x-127)/128"],
        "output": ["mean-pool", DIMS, "l2"],
        "code": _CODE_VERSION,
    }
)
IDENTITY = ExtractorIdentity(DEFAULT_EXTRACTOR, FINGERPRINT)


def keras_model(*, folded: bool = True, classifier: bool = False) -> Any:
    """The same network in Keras (loads TensorFlow); pooled numbers before normalisation, or ImageNet logits."""
    return Lite0Builder(read_legacy_torch(lite0_weights()), folded=folded).build(classifier=classifier)


def model_file() -> Path:
    """Where the converted model lies; its sha256 stands beside it."""
    return models_folder() / "extractors" / f"{FINGERPRINT}.tflite"


def _sidecar(model: Path) -> Path:
    return model.with_suffix(".sha256")


def fetch_extractor(report: Callable[[str], None]) -> None:
    """Convert the installed weights to LiteRT, once; a model that is there and right stays."""
    path = model_file()
    if _recorded_sha256(path) is not None and path.exists():
        _read_model()
        report(f"Extractor {DEFAULT_EXTRACTOR} is in place: {path}")
        return
    report(f"Extractor {DEFAULT_EXTRACTOR}: converting with TensorFlow, once (about half a minute)")
    model = keras_model()
    converted = convert_to_litert(model)
    _check_conversion(model, converted)
    # The model first: a sidecar without its model is missing weights, never a wrong check.
    write_atomically(path, converted)
    write_atomically(_sidecar(path), f"{sha256_hex(converted)}\n".encode())
    report(f"Extractor {DEFAULT_EXTRACTOR} is in place: {path}")


def _check_conversion(model: Any, converted: bytes) -> None:
    """Refuse a converted model whose vector of a fixed noise picture differs from the Keras model's.

    Conversion can go wrong without an error (once it left the weights out); such a file must not be cached.
    """
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    try:
        interpreter, input_index, output_index, _ = _open_interpreter(converted)
        interpreter.set_tensor(input_index, PREPROCESSING(noise))
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"The conversion to LiteRT gave a model that does not run: {error}") from error
    ours = normalised(interpreter.get_tensor(output_index))
    difference = float(np.abs(ours - normalised(model.predict(PREPROCESSING(noise), verbose=0))).max())
    if not difference <= MAX_DIFFERENCE:
        raise ModelError(f"The conversion to LiteRT changed the vectors by {difference:.1e}: not cached")


def _open_interpreter(model: bytes) -> tuple[Any, int, int, np.ndarray]:
    """A one-thread LiteRT interpreter of the model, the indices of its input and output, and room for an input."""
    # LiteRT is imported on use, so that naming an extractor stays cheap.
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if [tuple(d["shape"]) for d in inputs] != [(1, SIDE, SIDE, 3)] or [tuple(d["shape"]) for d in outputs] != [
        (1, DIMS)
    ]:
        raise ModelError(f"The extractor {DEFAULT_EXTRACTOR} has unexpected inputs or outputs")
    return interpreter, inputs[0]["index"], outputs[0]["index"], np.empty((1, SIDE, SIDE, 3), np.float32)


def _recorded_sha256(model: Path) -> str | None:
    try:
        return _sidecar(model).read_text().strip()
    except FileNotFoundError:
        return None


def _read_model() -> bytes:
    path = model_file()
    recorded = _recorded_sha256(path)
    if recorded is None:
        raise ModelError(f"The extractor's model {path} is missing: fetch the bundled models first")
    return read_pinned(path, recorded)


class EfficientNetLite0:
    """The bundled extractor (an `Extractor`); `embed` runs in parallel on several threads."""

    handle = DEFAULT_EXTRACTOR
    fingerprint = FINGERPRINT
    dims = DIMS
    batch = 1

    def __init__(self) -> None:
        # First use without `fetch`: convert now rather than fail (needs TensorFlow and half a minute, once).
        if _recorded_sha256(model_file()) is None:
            fetch_extractor(lambda line: None)
        model = _read_model()
        self._interpreters = InterpreterPool(lambda: _open_interpreter(model))

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Embed uint8 [h, w, 3] RGB pictures of any sizes: float32 [n, 1280], rows of length 1."""
        raw = np.empty((len(pictures), DIMS), np.float32)
        with self._interpreters.borrow() as (interpreter, input_index, output_index, room):
            for row, pixels in enumerate(pictures):
                interpreter.set_tensor(input_index, PREPROCESSING(pixels, room))
                interpreter.invoke()
                raw[row] = interpreter.get_tensor(output_index)[0]
        return normalised(raw)


def lite_backbone(handle: Handle) -> Backbone:
    """The network for training further. Raises ModelError for an unknown handle."""
    _identify(handle)
    return Backbone(handle.text, FINGERPRINT, PREPROCESSING, DIMS, keras_model)


def _identify(handle: Handle) -> ExtractorIdentity:
    handle.chosen()
    if handle.text != DEFAULT_EXTRACTOR:
        raise unknown("extractor", handle.text, [DEFAULT_EXTRACTOR])
    return IDENTITY


def _prepare(handle: Handle, store: object, report: Report) -> None:
    _identify(handle)
    fetch_extractor(report)


def _open(handle: Handle, store: object) -> Extractor:
    _identify(handle)
    return EfficientNetLite0()


FAMILY: ExtractorFamily = ExtractorFamily(_identify, _prepare, _open)
