"""Tiny but real SavedModels with the signatures of TF Hub's models; they load TensorFlow when they are made."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.detection.classes import open_images_names

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SIDE, DIMS = 224, 1792
ENTITIES = sorted(open_images_names())
COLOUR_CLASSES = ("Chair", "Houseplant", "Jeans")
"""What the detector calls a thing that is red, green or blue most of all."""
_MOST = 100


def save_feature_vector(folder: Path) -> None:
    """As mobilenet_v2_140_224/feature_vector: signature "default", images [n, 224, 224, 3] → "default" [n, 1792]."""
    import tensorflow as tf

    kernel = np.random.default_rng(4).normal(0, 0.1, (8 * 8 * 3, DIMS)).astype(np.float32)

    def vectors(weights: Any, images: Any) -> Any:
        pooled = tf.nn.avg_pool2d(images, SIDE // 8, SIDE // 8, "VALID")
        return {"default": tf.nn.relu(tf.reshape(pooled, [-1, 8 * 8 * 3]) @ weights)}

    save_signature(folder, vectors, kernel, [None, SIDE, SIDE, 3], "default")


def save_signature(
    folder: Path,
    function: Callable[[Any, Any], Mapping[str, Any]],
    weights: np.ndarray,
    shape: list[int | None],
    signature: str,
    dtype: str = "float32",
) -> None:
    """A SavedModel of TensorFlow 2 with one signature of one input, `images`; not callable itself."""
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.Variable(weights)
    called = tf.function(
        lambda images: function(module.weights, images),
        input_signature=[tf.TensorSpec(shape, tf.as_dtype(dtype), "images")],
    )
    tf.saved_model.save(module, str(folder), signatures={signature: called.get_concrete_function()})


def save_callable(folder: Path, function: Callable[[Any], Any]) -> None:
    """A SavedModel of TensorFlow 2 that is called itself and has no signature."""
    import tensorflow as tf

    module = tf.Module()
    module.__call__ = tf.function(function, input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
    tf.saved_model.save(module, str(folder))


def save_detector(folder: Path, entities: list[str] = ENTITIES, called: tuple[str, str, str] = COLOUR_CLASSES) -> None:
    """As the Open Images detectors: a module in TF1 Hub format, one picture of any size, entities of Open Images.

    It finds things that differ from the picture's border and lie beside each other: one box for each, scored by its
    size and called as its colour (red, green or blue most of all) says.
    """
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [1, None, None, 3], "images")
        threshold = tf.get_variable("threshold", initializer=0.15)
        outputs = _things(images[0], threshold, entities, called)
        session.run(tf.global_variables_initializer())
        signature = tf.saved_model.predict_signature_def({"images": images}, outputs)
        builder = tf.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, [], {"default": signature})
        builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")  # format version 3: what tells hub.load of this format


def _things(picture: Any, threshold: Any, entities: list[str], called: tuple[str, str, str]) -> dict[str, Any]:
    import tensorflow as tf

    edge = tf.concat([picture[0], picture[-1], picture[:, 0], picture[:, -1]], 0)
    thing = tf.reduce_max(tf.abs(picture - tf.reduce_mean(edge, 0)), -1) > threshold
    # A column with nothing in it parts two things.
    full = tf.reduce_any(thing, 0)
    begins = full & ~tf.concat([[False], full[:-1]], 0)
    number = tf.cumsum(tf.cast(begins, tf.int32)) - 1
    places = tf.where(thing)
    rows, columns = tf.cast(places[:, 0], tf.float32), tf.cast(places[:, 1], tf.float32)
    owner = tf.gather(number, places[:, 1])
    owner = tf.where(owner < _MOST, owner, -1)
    count = tf.math.unsorted_segment_sum(tf.ones_like(rows), owner, _MOST)
    sides = [
        tf.math.unsorted_segment_min(rows, owner, _MOST),
        tf.math.unsorted_segment_min(columns, owner, _MOST),
        tf.math.unsorted_segment_max(rows, owner, _MOST) + 1,
        tf.math.unsorted_segment_max(columns, owner, _MOST) + 1,
    ]
    height, width = (tf.cast(tf.shape(picture)[axis], tf.float32) for axis in (0, 1))
    boxes = tf.stack(sides, 1) / tf.stack([height, width, height, width])
    boxes = tf.where(count[:, None] > 0, boxes, tf.zeros_like(boxes))
    scores, order = tf.math.top_k(1 - tf.exp(-20 * count / (height * width)), _MOST)
    colour = tf.argmax(tf.math.unsorted_segment_mean(tf.gather_nd(picture, places), owner, _MOST), 1)
    classes = tf.gather(tf.constant([entities.index(name) for name in called], tf.int64), colour)
    classes = tf.gather(classes, order)
    return {
        "detection_boxes": tf.gather(boxes, order),
        "detection_scores": scores,
        "detection_class_entities": tf.gather(tf.constant(entities), classes),
        "detection_class_labels": classes + 1,
    }


def packed(folder: Path, under: str = ".") -> bytes:
    """A folder as a tar.gz with its content at the root, or under a name."""
    buffer = io.BytesIO()
    # The same folder gives the same bytes: gzip would write the time.
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1, mtime=0) as packing,
        tarfile.open(fileobj=packing, mode="w") as archive,
    ):
        archive.add(folder, under)
    return buffer.getvalue()
