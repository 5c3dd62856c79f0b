"""SavedModels opened by tensorflow_hub: one function of pictures, whatever the model calls it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.accelerator import tensorflow
from vetrina.errors import ModelError, UnfitModel

_SIGNATURES = ("default", "serving_default", "image_feature_vector")
"""By which of its signatures a model is called: the first that it has. Hub modules have "default"."""
_CALL = "its own call"
_SAID = 300


@dataclass(frozen=True, slots=True)
class Network:
    """A function of pictures.

    Attributes:
        signature: what it is called in the model, for messages.
        batch, height, width: of its input, float32 [batch, height, width, 3]; None: any.
        run: pictures → outputs by name, as tensors.
        model: what was loaded; kept, since a function alone loses its variables.
    """

    signature: str
    batch: int | None
    height: int | None
    width: int | None
    run: Callable[[Any], Mapping[str, Any]]
    model: object


def open_network(folder: Path, shown: str) -> Network:
    """Load a SavedModel (loads TensorFlow) and find the function that takes pictures.

    Args:
        shown: the model's name for messages.

    Raises:
        ModelError: TensorFlow cannot load it.
        UnfitModel: it has no function of float32 pictures [n, h, w, 3].
    """
    model = _load(folder, shown)
    signatures = dict(getattr(model, "signatures", {}))
    name = next((one for one in _SIGNATURES if one in signatures), None)
    if name is None and callable(model):
        return Network(_CALL, None, None, None, lambda pictures: _named(model(pictures)), model)
    if name is None:
        have = ", ".join(sorted(signatures)) or "none"
        raise UnfitModel(
            f"The model {shown} cannot be called: its signatures are {have}; needed is one of {', '.join(_SIGNATURES)}"
        )
    function = signatures[name]
    inputs = function.structured_input_signature[1]
    batch, height, width = _picture_input(inputs, name, shown)
    key = next(iter(inputs))
    return Network(name, batch, height, width, lambda pictures: function(**{key: pictures}), model)


def answer_of(network: Network, pictures: np.ndarray, shown: str) -> Mapping[str, Any]:
    """The outputs of a network for float32 pictures [n, h, w, 3], as tensors by name.

    Raises:
        UnfitModel: it cannot work them.
    """
    tf = tensorflow()
    try:
        outputs = network.run(tf.constant(pictures))
    except tf.errors.ResourceExhaustedError:
        raise  # a smaller batch may do
    except (tf.errors.OpError, ValueError, TypeError) as error:
        size = " × ".join(map(str, pictures.shape))
        raise UnfitModel(f"The model {shown} cannot work float32 pictures of {size}: {_short(error)}") from None
    if not all(isinstance(value, tf.Tensor) for value in outputs.values()):
        raise UnfitModel(f"The model {shown} gives something else than tensors")
    return outputs


def described(outputs: Mapping[str, Any]) -> str:
    """Outputs for messages: their names, types and shapes."""
    said = [f"{name} {value.dtype.name} {value.shape.as_list()}" for name, value in sorted(outputs.items())]
    return ", ".join(said) or "nothing"


def _load(folder: Path, shown: str) -> Any:
    hub = _tensorflow_hub()
    try:
        return hub.load(str(folder))
    except Exception as error:  # a damaged model ends in anything: IndexError, DecodeError, ValueError, OpError
        said = f"{_short(error)}; is it a whole SavedModel?"
        raise ModelError(f"TensorFlow cannot load the model {shown}: {said}") from error


def _tensorflow_hub() -> Any:
    """The module; its own deprecation warning is nothing to the people who run a shop."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tensorflow()  # set up before the hub's module uses it
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        import tensorflow_hub
    return tensorflow_hub


def _picture_input(inputs: Mapping[str, Any], name: str, shown: str) -> tuple[int | None, int | None, int | None]:
    """Batch, height and width of the one input, checked."""
    found = ", ".join(f"{key} {spec.dtype.name} {_shape(spec)}" for key, spec in sorted(inputs.items())) or "nothing"
    spec = next(iter(inputs.values()), None)
    shape = None if spec is None or spec.shape.rank is None else spec.shape.as_list()
    if (
        len(inputs) != 1
        or spec is None
        or spec.dtype.name != "float32"
        or (shape and (len(shape) != 4 or shape[3] not in (3, None)))
    ):
        raise UnfitModel(
            f"The model {shown} takes {found} (signature {name}); needed is one input, float32 pictures [n, h, w, 3]"
        )
    return (shape[0], shape[1], shape[2]) if shape else (None, None, None)


def _shape(spec: Any) -> str:
    return "of any shape" if spec.shape.rank is None else str(spec.shape.as_list())


def _named(answer: Any) -> Mapping[str, Any]:
    """What a model's own call gave, by name."""
    if isinstance(answer, Mapping):
        return answer
    parts = answer if isinstance(answer, list | tuple) else [answer]
    return {f"output_{number}": part for number, part in enumerate(parts)}


def _short(error: Exception) -> str:
    """The first line of TensorFlow's words, which go on for pages."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return said if len(said) <= _SAID else said[: _SAID - 1] + "…"
