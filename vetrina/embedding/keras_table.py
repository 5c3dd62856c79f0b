"""The networks of keras.applications as data: what each wants and gives. Loads neither Keras nor TensorFlow.

Sides and preprocessing are those of the modules of keras.applications (Keras 3.15): `preprocess_input` there is one of
four, restated here as numbers, because a preprocessing is part of a model's fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from vetrina.embedding.preprocessing import Preprocessing

# "tf": x / 127.5 - 1. "caffe": blue first, less the mean of ImageNet. "torch": (x / 255 - mean) / deviation.
# "none": the network itself rescales 0..255.
_STYLES: dict[str, dict[str, Any]] = {
    "tf": {"mean": (127.5,) * 3, "scale": (127.5,) * 3},
    "caffe": {"mean": (103.939, 116.779, 123.68), "scale": (1.0,) * 3, "bgr": True},
    "torch": {
        "mean": (0.485 * 255, 0.456 * 255, 0.406 * 255),
        "scale": (0.229 * 255, 0.224 * 255, 0.225 * 255),
    },
    "none": {"mean": (0.0,) * 3, "scale": (1.0,) * 3},
}


@dataclass(frozen=True, slots=True)
class Application:
    """A network of keras.applications.

    Attributes:
        module: the module of keras.applications that defines it.
        preprocessing: what its pictures go through; has the side that its ImageNet weights were trained at.
        dims: how many numbers it gives (with alpha 1 where it takes one).
        arguments: what its constructor gets besides weights, shape and pooling.
        alphas: widths that ImageNet weights exist for; empty where it takes no alpha.
    """

    module: str
    preprocessing: Preprocessing
    dims: int
    arguments: MappingProxyType[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    alphas: tuple[float, ...] = ()


def _of(
    module: str, style: str, side: int, dims: int, *, alphas: tuple[float, ...] = (), **arguments: Any
) -> Application:
    return Application(module, Preprocessing(side, **_STYLES[style]), dims, MappingProxyType(arguments), alphas)


APPLICATIONS: dict[str, Application] = {
    "MobileNetV2": _of("mobilenet_v2", "tf", 224, 1280, alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
    **{name: _of("resnet", "caffe", 224, 2048) for name in ("ResNet50", "ResNet101", "ResNet152")},
    **{name: _of("resnet_v2", "tf", 224, 2048) for name in ("ResNet50V2", "ResNet101V2", "ResNet152V2")},
    "VGG16": _of("vgg16", "caffe", 224, 512),
    "VGG19": _of("vgg19", "caffe", 224, 512),
    "InceptionV3": _of("inception_v3", "tf", 299, 2048),
    "InceptionResNetV2": _of("inception_resnet_v2", "tf", 299, 1536),
    "Xception": _of("xception", "tf", 299, 2048),
    "DenseNet121": _of("densenet", "torch", 224, 1024),
    "DenseNet169": _of("densenet", "torch", 224, 1664),
    "DenseNet201": _of("densenet", "torch", 224, 1920),
    "NASNetMobile": _of("nasnet", "tf", 224, 1056),
    "EfficientNetB0": _of("efficientnet", "none", 224, 1280),
    "EfficientNetB1": _of("efficientnet", "none", 240, 1280),
    "EfficientNetB2": _of("efficientnet", "none", 260, 1408),
    "EfficientNetB3": _of("efficientnet", "none", 300, 1536),
    "EfficientNetB4": _of("efficientnet", "none", 380, 1792),
    "EfficientNetB5": _of("efficientnet", "none", 456, 2048),
    "EfficientNetB6": _of("efficientnet", "none", 528, 2304),
    "EfficientNetB7": _of("efficientnet", "none", 600, 2560),
    "EfficientNetV2B0": _of("efficientnet_v2", "none", 224, 1280, include_preprocessing=True),
    "EfficientNetV2B1": _of("efficientnet_v2", "none", 240, 1280, include_preprocessing=True),
    "EfficientNetV2B2": _of("efficientnet_v2", "none", 260, 1408, include_preprocessing=True),
    "EfficientNetV2B3": _of("efficientnet_v2", "none", 300, 1536, include_preprocessing=True),
    "EfficientNetV2S": _of("efficientnet_v2", "none", 384, 1280, include_preprocessing=True),
    "EfficientNetV2M": _of("efficientnet_v2", "none", 480, 1280, include_preprocessing=True),
    "EfficientNetV2L": _of("efficientnet_v2", "none", 480, 1280, include_preprocessing=True),
    "MobileNetV3Small": _of("mobilenet_v3", "none", 224, 576, include_preprocessing=True),
    "MobileNetV3Large": _of("mobilenet_v3", "none", 224, 960, include_preprocessing=True),
    "ConvNeXtTiny": _of("convnext", "none", 224, 768, include_preprocessing=True),
    "ConvNeXtSmall": _of("convnext", "none", 224, 768, include_preprocessing=True),
    "ConvNeXtBase": _of("convnext", "none", 224, 1024, include_preprocessing=True),
    "ConvNeXtLarge": _of("convnext", "none", 224, 1536, include_preprocessing=True),
}


def wide_dims(alpha: float) -> int:
    """How many numbers MobileNetV2 gives: its last layer grows with alpha above 1, in steps of 8."""
    if alpha <= 1:
        return 1280
    nearest = max(8, int(1280 * alpha + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * 1280 * alpha else nearest
