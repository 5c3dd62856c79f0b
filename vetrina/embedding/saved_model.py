"""Extractors that are SavedModels: feature vectors of TF Hub, Kaggle or your own.

The common signature of TF Hub's image feature vectors: float32 pictures [n, side, side, 3] in [0, 1], red, green,
blue → float32 [n, dims] (https://www.tensorflow.org/hub/common_signatures/images). What one of them is like is found
out once, when it is prepared, and kept beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vetrina.embedding.extractor import Extractor, ExtractorFamily, ExtractorIdentity
from vetrina.embedding.on_tensorflow import TensorFlowExtractor
from vetrina.embedding.preprocessing import Preprocessing
from vetrina.errors import ModelError, UnfitModel
from vetrina.models import fingerprint_of
from vetrina.models.families import Report
from vetrina.models.handles import Handle
from vetrina.models.saved_model_network import Network, answer_of, described, open_network
from vetrina.models.saved_model_roles import Plan, SavedModelRole
from vetrina.models.saved_model_sources import is_local, shown_place
from vetrina.models.saved_models import place_of

_ROLE = SavedModelRole("extractor", code=1)
_USUAL_SIDE = 224
# Sides that TF Hub's image models have; other numbers in their names are depths and widths (resnet_v2_50, v2_140).
_SIDES = (96, 128, 160, 192, 224, 240, 256, 260, 288, 299, 300, 320, 331, 380, 384, 448, 456, 480, 512, 528, 600)
_MOST_SIDE = 2048
_NUMBER = re.compile(r"(?<![A-Za-z0-9])\d+(?![A-Za-z0-9])")
_OF_CLASSES = ("logits", "probabilities", "predictions", "classes", "scores")


def named_side(place: str) -> int | None:
    """The side that a model's name tells: the last number in it that is a usual side of pictures.

    The name is what a place ends with, before its version if it has one; a hub's has two parts (NAME/feature_vector).
    What lies before it (a host, a port, a bucket, folders) names no model.
    """
    parts = place.split("://")[-1].split("?")[0].strip("/").split("/")[0 if is_local(place) else 1 :]
    if len(parts) > 1 and parts[-1].isdecimal():
        parts.pop()
    name = "/".join(parts[-2 if place.lower().startswith("http") else -1 :])
    return next((int(one) for one in reversed(_NUMBER.findall(name)) if int(one) in _SIDES), None)


def inspect(network: Network, place: str, asked: int | None, shown: str) -> Plan:
    """Find out how a network serves as an extractor, by running it on two pictures of noise.

    Args:
        asked: the side that the handle's option names.

    Returns:
        side, dims, batch (1 or None: any), signature, output: as kept beside the model.

    Raises:
        UnfitModel: it does not.
    """
    side = _side(network, place, asked, shown)
    if network.batch not in (None, 1):
        raise UnfitModel(f"The model {shown} takes {network.batch} pictures at once; needed is one, or any number")
    noise = np.random.default_rng(0).random((2, side, side, 3), np.float32)
    pictures = [noise[:1], noise[1:]] if network.batch == 1 else [noise]
    outputs = [answer_of(network, part, shown) for part in pictures]
    output = _vector_output(outputs[0], len(pictures[0]), shown)
    vectors = np.concatenate([np.asarray(part[output]) for part in outputs]).reshape(2, -1)
    if not np.isfinite(vectors).all():
        raise UnfitModel(f"The model {shown} gives numbers that are not finite for a picture of noise")
    # Rows that are distributions are a classifier's answer; likeness is not in them.
    if vectors.min() >= 0 and np.allclose(vectors.sum(axis=1), 1, atol=1e-3) and vectors.shape[1] > 1:
        raise UnfitModel(f"The model {shown} answers with probabilities of classes; needed is a feature vector")
    return {
        "side": side,
        "dims": vectors.shape[1],
        "batch": network.batch,
        "signature": network.signature,
        "output": output,
    }


def _side(network: Network, place: str, asked: int | None, shown: str) -> int:
    if (network.height is None) != (network.width is None) or network.height != network.width:
        raise UnfitModel(f"The model {shown} takes pictures of {network.height} × {network.width}; needed is a square")
    if network.height is not None and asked not in (None, network.height):
        raise UnfitModel(f"The model {shown} takes pictures of side {network.height}, not {asked} as its handle says")
    return network.height or asked or named_side(place) or _USUAL_SIDE


def _vector_output(outputs: Mapping[str, Any], count: int, shown: str) -> str:
    """The name of the output that is a vector for each picture: [n, dims] or [n, 1, 1, dims]."""
    name = "default" if "default" in outputs else next(iter(outputs), "")
    if len(outputs) == 1 or name == "default":
        value = outputs[name]
        shape = value.shape.as_list()
        pooled = len(shape) == 2 or (len(shape) == 4 and shape[1:3] == [1, 1])
        of_classes = name.lower() in _OF_CLASSES
        if value.dtype.name == "float32" and pooled and shape[0] == count and shape[-1] and not of_classes:
            return name
    raise UnfitModel(
        f"The model {shown} is no extractor: for {count} pictures it gives {described(outputs)}; needed is one "
        "feature vector for each picture, float32 [n, dims] or [n, 1, 1, dims]"
    )


def _asked_side(handle: Handle) -> int | None:
    text = handle.chosen("side", "sha256").get("side")
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_SIDE:
        raise ModelError(f"In the model handle {handle.text!r}, side must be a number of pixels up to {_MOST_SIDE}")
    return int(text)


def _identify(handle: Handle) -> ExtractorIdentity:
    _asked_side(handle)
    plan = _ROLE.plan(handle)
    made = {name: plan[name] for name in ("digest", "dims", "signature", "output", "code")}
    preprocess = Preprocessing(plan["side"]).as_json()
    return ExtractorIdentity(handle.text, fingerprint_of(made | {"preprocess": preprocess, "length": "l2"}))


def _prepare(handle: Handle, store: object, report: Report) -> None:
    asked, place = _asked_side(handle), place_of(handle)
    shown = shown_place(place)
    _ROLE.prepare(handle, report, lambda folder: inspect(open_network(folder, shown), place, asked, shown))
    plan = _ROLE.plan(handle)
    report(f"Extractor {shown} is ready: {plan['dims']} numbers from pictures of side {plan['side']}")


def _open(handle: Handle, store: object) -> Extractor:
    identity, plan, shown = _identify(handle), _ROLE.plan(handle), shown_place(place_of(handle))
    network = open_network(_ROLE.folder(handle), shown)

    def vectors(pictures: np.ndarray) -> np.ndarray:
        return np.asarray(answer_of(network, pictures, shown)[plan["output"]]).reshape(len(pictures), -1)

    return TensorFlowExtractor(
        identity.handle,
        identity.fingerprint,
        plan["dims"],
        Preprocessing(plan["side"]),
        vectors,
        batch=plan["batch"],
    )


FAMILY: ExtractorFamily = ExtractorFamily(_identify, _prepare, _open, _ROLE.files)
