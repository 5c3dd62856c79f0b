"""EfficientNet-Lite0 as a Keras model, and its conversion to LiteRT. Only this module needs TensorFlow.

The network is that of google's EfficientNet-Lite (Tan & Le 2019, "lite" variant): seven stages of inverted
residuals, ReLU6, no squeeze-and-excitation, stem (32) and head (1280) not scaled, batch normalisation with
epsilon 1e-3, and TensorFlow's SAME padding, which pads bottom and right first when a stride is 2. (Padding
symmetrically as torch does looks right - nearly the same accuracy - but gives vectors at 0.94 cosine.)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

SIDE = 224
DIMS = 1280
BN_EPSILON = 1e-3


@dataclass(frozen=True, slots=True)
class Block:
    """One inverted residual: expand by `expand`, depthwise `kernel` at `stride`, project to `filters`."""

    expand: int
    kernel: int
    stride: int
    inputs: int
    filters: int


def _blocks() -> tuple[Block, ...]:
    # repeats, kernel, stride of the first, expansion, input channels, output channels
    stages = (
        (1, 3, 1, 1, 32, 16),
        (2, 3, 2, 6, 16, 24),
        (2, 5, 2, 6, 24, 40),
        (3, 3, 2, 6, 40, 80),
        (3, 5, 1, 6, 80, 112),
        (4, 5, 2, 6, 112, 192),
        (1, 3, 1, 6, 192, 320),
    )
    return tuple(
        Block(expand, kernel, stride if i == 0 else 1, inputs if i == 0 else filters, filters)
        for repeats, kernel, stride, expand, inputs, filters in stages
        for i in range(repeats)
    )


BLOCKS = _blocks()


class Lite0Builder:
    """Builds the Keras model from the tensors of the weights file.

    Args:
        weights: the tensors by their names in the file; convolutions [out, in, kh, kw].
        folded: multiply each batch normalisation into the convolution before it (a third less work, outputs
            equal to about 1e-6) instead of keeping it as a layer.
    """

    def __init__(self, weights: dict[str, np.ndarray], *, folded: bool) -> None:
        import keras

        self._keras = keras
        self._weights = weights
        self._folded = folded

    def build(self, *, classifier: bool = False) -> Any:
        """A functional Keras model: float32 [n, 224, 224, 3], (x - 127)/128 of RGB 0..255 → [n, 1280].

        With `classifier`, the file's 1000-class ImageNet head follows: [n, 1000] logits.
        """
        layers = self._keras.layers
        picture = self._keras.Input((SIDE, SIDE, 3), name="picture")
        x = self._convolve(picture, "_conv_stem", "_bn0", stride=2)
        for number, block in enumerate(BLOCKS):
            x = self._block(x, f"_blocks.{number}", block)
        x = self._convolve(x, "_conv_head", "_bn1")
        x = layers.GlobalAveragePooling2D(name="vector")(x)
        if classifier:
            head = layers.Dense(1000, name="logits")
            x = head(x)
            head.set_weights([self._weights["_fc.weight"].T, self._weights["_fc.bias"]])
        return self._keras.Model(picture, x, name="efficientnet_lite0")

    def _block(self, x: Any, name: str, block: Block) -> Any:
        shortcut = x
        if block.expand > 1:
            x = self._convolve(x, f"{name}._expand_conv", f"{name}._bn0")
        x = self._convolve(x, f"{name}._depthwise_conv", f"{name}._bn1", stride=block.stride, depthwise=True)
        x = self._convolve(x, f"{name}._project_conv", f"{name}._bn2", relu=False)
        if block.stride == 1 and block.inputs == block.filters:
            x = self._keras.layers.Add(name=_layer_name(name) + "_add")([x, shortcut])
        return x

    def _convolve(
        self, x: Any, name: str, bn: str, *, stride: int = 1, depthwise: bool = False, relu: bool = True
    ) -> Any:
        """Convolution without bias, batch normalisation, ReLU6; the first two as one layer when folded."""
        layers = self._keras.layers
        kernel = self._weights[f"{name}.weight"].astype(np.float64)
        gamma, beta, mean, variance = (
            self._weights[f"{bn}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gamma / np.sqrt(variance + BN_EPSILON)
        if self._folded:
            kernel = kernel * gain[:, None, None, None]
        # The file's [out, in, kh, kw] → Keras's [kh, kw, in, out]; depthwise: [c, 1, kh, kw] → [kh, kw, c, 1].
        turned = kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)).astype(np.float32)
        options = {"use_bias": self._folded, "name": _layer_name(name)}
        x, layer = self.convolution(x, turned, stride, depthwise, options)
        if self._folded:
            layer.set_weights([turned, (beta - mean * gain).astype(np.float32)])
        else:
            layer.set_weights([turned])
            normalise = layers.BatchNormalization(epsilon=BN_EPSILON, name=_layer_name(name) + "_bn")
            x = normalise(x)
            normalise.set_weights([v.astype(np.float32) for v in (gamma, beta, mean, variance)])
        return layers.ReLU(6.0, name=_layer_name(name) + "_relu6")(x) if relu else x

    def convolution(
        self, x: Any, kernel: np.ndarray, stride: int, depthwise: bool, options: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Apply one convolution with TensorFlow's SAME padding; answers its output and the layer."""
        layers = self._keras.layers
        if depthwise:
            layer = layers.DepthwiseConv2D(kernel.shape[0], stride, padding="same", **options)
        else:
            layer = layers.Conv2D(kernel.shape[3], kernel.shape[0], stride, padding="same", **options)
        return layer(x), layer


def _layer_name(name: str) -> str:
    # A layer name that starts with "_" or holds a dot breaks the export of a SavedModel.
    return name.lstrip("_").replace("._", "_").replace(".", "_")


def convert_to_litert(model: Any) -> bytes:
    """The Keras model as a float32 LiteRT file with the fixed input [1, 224, 224, 3]."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # A concrete function pins the batch to 1: XNNPACK refuses to reshape, and threads scale better than batches.
    specification = tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, name="picture")
    function = tf.function(lambda picture: model(picture, training=False)).get_concrete_function(specification)
    # Frozen first: left as variables, the weights would stay out of the file (88 kB, and it fails on invoke).
    frozen = convert_variables_to_constants_v2(function)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    return bytes(converter.convert())
