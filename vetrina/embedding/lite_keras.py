"""EfficientNet-Lite 0, 1 and 2 as Keras models, from one table. TensorFlow is loaded where a model is built.

The networks are those of google's EfficientNet-Lite (Tan & Le 2019, "lite" variant): seven stages of inverted
residuals, ReLU6, no squeeze-and-excitation, batch normalisation with epsilon 1e-3, and TensorFlow's SAME padding, which
pads bottom and right first when a stride is 2. (Padding symmetrically as torch does looks right - nearly the same
accuracy - but gives vectors at 0.94 cosine.) A larger member has more channels (`width`) and more blocks in a stage
(`depth`); in Lite the stem (32), the head (1280) and the number of blocks of the first and the last stage stay.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vetrina.accelerator import tensorflow
from vetrina.errors import ModelError

DIMS = 1280
BN_EPSILON = 1e-3
_STEM = 32
_CLASSES = 1000
# repeats, kernel, stride of the first block, expansion, output channels
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@dataclass(frozen=True, slots=True)
class Block:
    """One inverted residual: expand by `expand`, depthwise `kernel` at `stride`, project to `filters`."""

    expand: int
    kernel: int
    stride: int
    inputs: int
    filters: int


@dataclass(frozen=True, slots=True)
class Network:
    """A member of the family.

    Attributes:
        side: height and width of its input, in pixels.
        width: factor of the channels, which are rounded to a multiple of 8.
        depth: factor of the blocks in a stage, rounded up.
    """

    side: int
    width: float
    depth: float

    def blocks(self) -> tuple[Block, ...]:
        """Its inverted residuals, in order."""
        blocks, inputs = [], _STEM
        for stage, (repeats, kernel, stride, expand, filters) in enumerate(_STAGES):
            scaled = repeats if stage in (0, len(_STAGES) - 1) else math.ceil(self.depth * repeats)
            outputs = _multiple_of_8(filters * self.width)
            for number in range(scaled):
                blocks.append(Block(expand, kernel, stride if number == 0 else 1, inputs, outputs))
                inputs = outputs
        return tuple(blocks)


NETWORKS = {
    "efficientnet-lite0": Network(224, 1.0, 1.0),
    "efficientnet-lite1": Network(240, 1.0, 1.1),
    "efficientnet-lite2": Network(260, 1.1, 1.2),
}


def _multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8, never more than a tenth below (as EfficientNet's `round_filters`)."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


class LiteBuilder:
    """Builds the Keras model from the tensors of the weights file.

    Args:
        network: the member of the family that the weights belong to.
        weights: the tensors by their names in the file; convolutions [out, in, kh, kw].
        folded: multiply each batch normalisation into the convolution before it (a third less work, outputs
            equal to about 1e-6) instead of keeping it as a layer.
    """

    def __init__(self, network: Network, weights: dict[str, np.ndarray], *, folded: bool) -> None:
        tensorflow()  # sets up what Keras runs on
        import keras

        self._keras = keras
        self._network = network
        self._weights = weights
        self._left: set[str] = set()
        self._folded = folded

    def build(self, *, classifier: bool = False) -> Any:
        """A functional Keras model: float32 [n, side, side, 3], (x - 127)/128 of RGB 0..255 → [n, 1280].

        With `classifier`, the file's 1000-class ImageNet head follows: [n, 1000] logits.

        Raises:
            ModelError: a tensor is missing, has another shape than the network's, or belongs nowhere.
        """
        # Counters of training steps are no part of the network.
        self._left = {name for name in self._weights if not name.endswith(".num_batches_tracked")}
        layers = self._keras.layers
        picture = self._keras.Input((self._network.side, self._network.side, 3), name="picture")
        x = self._convolve(picture, "_conv_stem", "_bn0", (_STEM, 3, 3), stride=2)
        for number, block in enumerate(self._network.blocks()):
            x = self._block(x, f"_blocks.{number}", block)
        x = self._convolve(x, "_conv_head", "_bn1", (DIMS, block.filters, 1))
        x = layers.GlobalAveragePooling2D(name="vector")(x)
        matrix, bias = self._take("_fc.weight", (_CLASSES, DIMS)), self._take("_fc.bias", (_CLASSES,))
        if self._left:
            raise ModelError(f"The weights belong to another network: it has no place for {min(self._left)}")
        if classifier:
            head = layers.Dense(_CLASSES, name="logits")
            x = head(x)
            head.set_weights([matrix.T, bias])
        return self._keras.Model(picture, x, name="efficientnet_lite")

    def _take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A tensor of the file, float64, which nothing has used yet."""
        if name not in self._left:
            raise ModelError(f"The weights belong to another network: the tensor {name} is missing")
        self._left.remove(name)
        tensor = self._weights[name]
        if tensor.shape != shape:
            raise ModelError(f"The weights belong to another network: {name} is {tensor.shape}, not {shape}")
        return tensor.astype(np.float64)

    def _block(self, x: Any, name: str, block: Block) -> Any:
        shortcut, expanded = x, block.inputs * block.expand
        if block.expand > 1:
            x = self._convolve(x, f"{name}._expand_conv", f"{name}._bn0", (expanded, block.inputs, 1))
        shape = (expanded, 1, block.kernel)
        x = self._convolve(x, f"{name}._depthwise_conv", f"{name}._bn1", shape, stride=block.stride, depthwise=True)
        x = self._convolve(x, f"{name}._project_conv", f"{name}._bn2", (block.filters, expanded, 1), relu=False)
        if block.stride == 1 and block.inputs == block.filters:
            x = self._keras.layers.Add(name=_layer_name(name) + "_add")([x, shortcut])
        return x

    def _convolve(
        self,
        x: Any,
        name: str,
        bn: str,
        shape: tuple[int, int, int],
        *,
        stride: int = 1,
        depthwise: bool = False,
        relu: bool = True,
    ) -> Any:
        """Convolution without bias, batch normalisation, ReLU6; the first two as one layer when folded.

        Args:
            shape: output channels, input channels and kernel side.
        """
        layers = self._keras.layers
        kernel = self._take(f"{name}.weight", (*shape, shape[2]))
        gamma, beta, mean, variance = (
            self._take(f"{bn}.{part}", (shape[0],)) for part in ("weight", "bias", "running_mean", "running_var")
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
