"""The losses of training, as functions of tensors. TensorFlow is loaded when they are called."""

from __future__ import annotations

from typing import Any

import numpy as np


def balanced_weights(classes: np.ndarray, count: int) -> np.ndarray:
    """A weight for each of `count` classes so that all weigh the same together: n / (count · n of the class).

    float32 [count]; of G. King and L. Zeng, "Logistic Regression in Rare Events Data" (2001), as scikit-learn's
    "balanced".
    """
    sizes = np.bincount(classes, minlength=count)
    return (len(classes) / (count * np.maximum(sizes, 1))).astype(np.float32)


def cross_entropy(logits: Any, classes: Any, smoothing: float) -> Any:
    """Of each example, float32 [n]; labels smoothed as by Szegedy et al. 2016 ("Rethinking the Inception …").

    Args:
        logits: float32 [n, classes]; classes: int [n].
    """
    import tensorflow as tf

    count = logits.shape[-1]
    wanted = tf.one_hot(classes, count) * (1.0 - smoothing) + smoothing / count
    return tf.nn.softmax_cross_entropy_with_logits(wanted, logits)


def supervised_contrastive(vectors: Any, classes: Any, temperature: float) -> Any:
    """The mean over the examples that have another of their class in the batch; 0 where there is none.

    L_out of P. Khosla et al., "Supervised Contrastive Learning" (2020), equation 2.

    Args:
        vectors: float32 [n, d], of any length; classes: int [n].
    """
    import tensorflow as tf

    units = tf.math.l2_normalize(vectors, axis=1)
    count = tf.shape(units)[0]
    others = 1.0 - tf.eye(count)
    alike = tf.cast(classes[:, None] == classes[None, :], tf.float32) * others
    scores = tf.matmul(units, units, transpose_b=True) / temperature
    scores -= tf.stop_gradient(tf.reduce_max(scores, axis=1, keepdims=True))
    shares = scores - tf.math.log(tf.reduce_sum(tf.exp(scores) * others, axis=1, keepdims=True) + 1e-12)
    partners = tf.reduce_sum(alike, axis=1)
    each = -tf.math.divide_no_nan(tf.reduce_sum(alike * shares, axis=1), partners)
    return tf.math.divide_no_nan(tf.reduce_sum(each), tf.reduce_sum(tf.cast(partners > 0, tf.float32)))
