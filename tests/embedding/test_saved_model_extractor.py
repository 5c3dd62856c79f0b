"""Extractors that are SavedModels, by the real tensorflow_hub."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import hub_models
from support.hub_models import packed, save_callable, save_signature
from support.hub_server import DETECTOR, EXTRACTOR, HubServer

from vetrina.embedding.extractor import Extractor, identify_extractor, open_extractor, prepare_extractor
from vetrina.embedding.preprocessing import letterbox
from vetrina.embedding.saved_model import named_side
from vetrina.errors import ModelError, UnfitModel
from vetrina.models.handles import parse_handle
from vetrina.models.saved_models import kept

TOLERANCE = 1e-5
WEIGHTS = np.ones(3, np.float32)
Answer = Callable[[Any, Any], Mapping[str, Any]]
WHITE_AND_BLACK = np.repeat(np.uint8([0, 255]), 24).reshape(4, 4, 3)


def prepare(handle: object) -> None:
    prepare_extractor(str(handle), None, lambda line: None)


def ready(handle: object) -> Extractor:
    prepare(handle)
    return open_extractor(str(handle))


def channels(weights: Any, images: Any) -> Mapping[str, Any]:
    """Each channel's mean and its extremes: what a model sees of its pictures."""
    import tensorflow as tf

    parts = [tf.reduce_mean(images, [1, 2]), tf.reduce_min(images, [1, 2]), tf.reduce_max(images, [1, 2])]
    return {"default": tf.concat([*parts, tf.ones_like(parts[0])], 1) * tf.reduce_mean(weights)}


def seen(vectors: np.ndarray) -> np.ndarray:
    """What `channels` answered: the ones in it undo the normalisation."""
    return vectors[:, :9] / vectors[:, 9:10]


@pytest.fixture
def published(hub: HubServer, hub_archives: dict[str, bytes]) -> str:
    """The handle of the tiny feature vector on a hub."""
    return hub.publish(EXTRACTOR, hub_archives[EXTRACTOR])


def test_a_handle_of_a_hub_becomes_an_extractor(
    published: str, hub: HubServer, pictures: dict[str, np.ndarray]
) -> None:
    extractor = ready(published)
    some = list(pictures.values())[:5]
    vectors = extractor.embed(some)
    assert extractor.handle == published and extractor.dims == 1792
    assert vectors.shape == (5, 1792) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=TOLERANCE)
    assert identify_extractor(published).fingerprint == extractor.fingerprint
    asked = len(hub.requests)
    assert np.array_equal(ready(published).embed(some), vectors)
    assert len(hub.requests) == asked


def test_vectors_are_those_of_tensorflow_hub_itself(published: str, pictures: dict[str, np.ndarray]) -> None:
    import tensorflow as tf
    import tensorflow_hub

    extractor = ready(published)
    found = kept(parse_handle(published))
    assert found is not None
    module = tensorflow_hub.load(str(found.folder))
    some = list(pictures.values())[:3]
    squares = np.stack([letterbox(picture, 224) for picture in some]).astype(np.float32) / 255
    raw = module.signatures["default"](images=tf.constant(squares))["default"].numpy()
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.abs(extractor.embed(some) - expected).max() <= TOLERANCE


def test_a_model_sees_numbers_from_0_to_1_in_red_green_blue(own_models: Path, tmp_path: Path) -> None:
    save_signature(tmp_path / "m", channels, WEIGHTS, [None, 32, 32, 3], "default")
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 255
    red[..., 2] = 51
    mean, least, most = np.split(seen(ready(tmp_path / "m").embed([red])), 3, axis=1)
    for values in (mean, least, most):
        assert np.abs(values - [[1, 0, 0.2]]).max() <= TOLERANCE


def test_alone_in_a_batch_and_one_by_one_a_vector_is_the_same(
    own_models: Path, tmp_path: Path, pictures: dict[str, np.ndarray]
) -> None:
    save_signature(tmp_path / "any", channels, WEIGHTS, [None, 32, 32, 3], "default")
    save_signature(tmp_path / "one", channels, WEIGHTS, [1, 32, 32, 3], "default")
    many, single = ready(tmp_path / "any"), ready(tmp_path / "one")
    some = list(pictures.values())
    together = many.embed(some)
    assert np.abs(np.concatenate([many.embed([picture]) for picture in some]) - together).max() <= TOLERANCE
    assert np.abs(single.embed(some) - together).max() <= TOLERANCE


def in_four_dimensions(weights: Any, images: Any) -> Mapping[str, Any]:
    return {"default": channels(weights, images)["default"][:, None, None, :]}


def with_endpoints(weights: Any, images: Any) -> Mapping[str, Any]:
    return {"default": channels(weights, images)["default"], "a/layer": images}


def under_another_name(weights: Any, images: Any) -> Mapping[str, Any]:
    return {"outputs": channels(weights, images)["default"]}


@pytest.mark.parametrize(
    ("answer", "signature"),
    [
        (in_four_dimensions, "default"),
        (with_endpoints, "default"),
        (under_another_name, "serving_default"),
        (channels, "image_feature_vector"),
    ],
)
def test_models_of_other_forms_serve_as_well(own_models: Path, tmp_path: Path, answer: Answer, signature: str) -> None:
    save_signature(tmp_path / "m", answer, WEIGHTS, [None, 32, 32, 3], signature)
    extractor = ready(tmp_path / "m")
    assert extractor.dims == 12
    assert np.abs(seen(extractor.embed([WHITE_AND_BLACK])) - [[0.5] * 3 + [0] * 3 + [1] * 3]).max() <= 0.01


def test_a_model_that_is_called_itself_serves_as_well(own_models: Path, tmp_path: Path) -> None:
    save_callable(tmp_path / "m", lambda images: channels(WEIGHTS, images)["default"])
    extractor = ready(f"{tmp_path}/m#side=64")
    assert extractor.dims == 12 and extractor.embed([WHITE_AND_BLACK]).shape == (1, 12)


def of_five_numbers(images: Any) -> Any:
    import tensorflow as tf

    return tf.reshape(images, [5])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda images: (images, images), r"it gives output_0 float32 \[2, 224, 224, 3\], output_1 float32"),
        (lambda images: [[images]], "gives something else than tensors"),
        (of_five_numbers, "cannot work float32 pictures of 2 × 224 × 224 × 3: "),
    ],
)
def test_a_model_that_is_called_itself_and_gives_no_vector_is_refused(
    own_models: Path, tmp_path: Path, answer: Callable[[Any], Any], says: str
) -> None:
    save_callable(tmp_path / "m", answer)
    with pytest.raises(UnfitModel, match=says):
        prepare(tmp_path / "m")


@pytest.mark.parametrize(
    ("place", "side"),
    [
        ("https://tfhub.dev/google/imagenet/mobilenet_v2_140_224/feature_vector/4", 224),
        ("https://www.kaggle.com/models/google/mobilenet-v2/TensorFlow2/035-96-feature-vector/2", 96),
        ("https://tfhub.dev/google/imagenet/resnet_v2_50/feature_vector/5", None),
        ("https://tfhub.dev/google/imagenet/inception_v3/feature_vector/5", None),
        ("s3://bucket/b2-260x260.tar.gz", None),
        ("/models/mobilenet_v3_small_100_160", 160),
        ("/models/mobilenet_v3_small_100_160/1", 160),
        ("/tmp/run-448/224/mine", None),
        ("/models/512", None),
        ("s3://shop-448/mine", None),
        ("s3://shop-448/mine_128.tar.gz", 128),
        ("http://hub-448.house:512/team-300/mine/feature_vector/224", None),
        ("http://hub.house/mine_192?of=448", 192),
    ],
)
def test_a_name_may_tell_the_side(place: str, side: int | None) -> None:
    assert named_side(place) == side


def side_of(images: Any) -> Any:
    """Vectors that tell the side of the pictures: side, 1000, 1000."""
    import tensorflow as tf

    row = tf.cast(tf.stack([tf.shape(images)[1], 1000, 1000]), tf.float32)
    return tf.tile(row[None], [tf.shape(images)[0], 1])


def test_the_side_is_the_models_own_or_the_handles_or_the_names_or_224(own_models: Path, tmp_path: Path) -> None:
    save_callable(tmp_path / "any", side_of)
    save_callable(tmp_path / "any_192", side_of)
    save_signature(tmp_path / "fixed", channels, WEIGHTS, [None, 32, 32, 3], "default")

    def side(handle: str) -> float:
        vector = ready(f"{tmp_path}/{handle}").embed([WHITE_AND_BLACK])[0]
        return float(vector[0] / vector[1] * 1000)

    assert side("any") == pytest.approx(224, abs=0.1)
    assert side("any_192") == pytest.approx(192, abs=0.1)
    assert side("any_192#side=96") == pytest.approx(96, abs=0.1)
    prepare(f"{tmp_path}/fixed#side=32")
    with pytest.raises(UnfitModel, match="takes pictures of side 32, not 64 as its handle says"):
        prepare(f"{tmp_path}/fixed#side=64")
    for wrong in ("0", "-5", "9999", "x"):
        with pytest.raises(ModelError, match="side must be a number of pixels up to 2048"):
            prepare(f"{tmp_path}/fixed#side={wrong}")
    with pytest.raises(ModelError, match="unknown option 'dims'; it takes side, sha256"):
        identify_extractor(f"{tmp_path}/fixed#dims=5")


def softmax(weights: Any, images: Any) -> Mapping[str, Any]:
    import tensorflow as tf

    return {"default": tf.nn.softmax(channels(weights, images)["default"])}


def logits(weights: Any, images: Any) -> Mapping[str, Any]:
    return {"logits": channels(weights, images)["default"]}


def unpooled(weights: Any, images: Any) -> Mapping[str, Any]:
    return {"default": images[:, ::8, ::8]}


def flat(weights: Any, images: Any) -> Mapping[str, Any]:
    return {"default": images[:, :, 0]}


def two_answers(weights: Any, images: Any) -> Mapping[str, Any]:
    return {"one": channels(weights, images)["default"], "two": images}


def not_finite(weights: Any, images: Any) -> Mapping[str, Any]:
    return {"default": channels(weights, images)["default"] / 0}


def whole_numbers(weights: Any, images: Any) -> Mapping[str, Any]:
    import tensorflow as tf

    return {"default": tf.cast(tf.reduce_sum(images, [1, 2]) * weights[:1], tf.int32)}


def of_bytes(weights: Any, images: Any) -> Mapping[str, Any]:
    import tensorflow as tf

    return channels(weights, tf.cast(images, tf.float32))


@pytest.mark.parametrize(
    ("answer", "shape", "signature", "dtype", "says"),
    [
        (softmax, [None, 32, 32, 3], "default", "float32", "answers with probabilities of classes"),
        (logits, [None, 32, 32, 3], "default", "float32", r"it gives logits float32 \[2, 12\]; needed is"),
        (unpooled, [None, 32, 32, 3], "default", "float32", r"it gives default float32 \[2, 4, 4, 3\]; needed is"),
        (two_answers, [None, 32, 32, 3], "default", "float32", r"it gives one float32 \[2, 12\], two float32"),
        (not_finite, [None, 32, 32, 3], "default", "float32", "numbers that are not finite"),
        (whole_numbers, [None, 32, 32, 3], "default", "float32", r"it gives default int32 \[2, 3\]"),
        (of_bytes, [None, 32, 32, 3], "default", "uint8", r"takes images uint8 \[None, 32, 32, 3\].*float32 pictures"),
        (channels, [None, 3, 32, 32], "default", "float32", r"takes images float32 \[None, 3, 32, 32\]"),
        (flat, [None, 32, 3], "default", "float32", r"takes images float32 \[None, 32, 3\]"),
        (channels, [4, 32, 32, 3], "default", "float32", "takes 4 pictures at once; needed is one, or any number"),
        (channels, [None, 32, 48, 3], "default", "float32", "takes pictures of 32 × 48; needed is a square"),
        (channels, [None, 32, 32, 3], "train", "float32", "its signatures are train; needed is one of default"),
    ],
)
def test_a_model_with_another_signature_is_refused_before_it_is_used(
    own_models: Path,
    tmp_path: Path,
    answer: Answer,
    shape: list[int | None],
    signature: str,
    dtype: str,
    says: str,
) -> None:
    save_signature(tmp_path / "m", answer, WEIGHTS, shape, signature, dtype)
    with pytest.raises(UnfitModel, match=says) as refused:
        prepare(tmp_path / "m")
    assert str(tmp_path / "m") in str(refused.value)
    with pytest.raises(ModelError, match="not ready on this machine"):
        identify_extractor(str(tmp_path / "m"))


def test_a_detector_is_no_extractor(hub: HubServer, hub_archives: dict[str, bytes]) -> None:
    handle = hub.publish(DETECTOR, hub_archives[DETECTOR])
    with pytest.raises(UnfitModel, match=r"no extractor: .* it gives .*detection_boxes float32 \[100, 4\]"):
        prepare(handle)


def test_a_model_whose_weights_are_cut_is_refused(own_models: Path, tmp_path: Path) -> None:
    save_signature(tmp_path / "m", channels, WEIGHTS, [None, 32, 32, 3], "default")
    weights = tmp_path / "m/variables/variables.data-00000-of-00001"
    weights.write_bytes(weights.read_bytes()[:5])
    with pytest.raises(ModelError, match=r"TensorFlow cannot load the model .*is it a whole SavedModel\?"):
        prepare(tmp_path / "m")
    (tmp_path / "m/saved_model.pb").write_bytes(b"<html>")
    with pytest.raises(ModelError, match="TensorFlow cannot load the model"):
        prepare(tmp_path / "m")


def test_a_model_that_was_altered_since_is_not_opened(own_models: Path, tmp_path: Path) -> None:
    save_signature(tmp_path / "m", channels, WEIGHTS, [None, 32, 32, 3], "default")
    prepare(tmp_path / "m")
    found = kept(parse_handle(str(tmp_path / "m")))
    assert found is not None
    (found.folder / "variables/variables.index").write_bytes(b"")
    with pytest.raises(ModelError, match="altered, cut or missing: run `vetrina models`"):
        open_extractor(str(tmp_path / "m"))
    found.folder.rename(tmp_path / "gone")
    with pytest.raises(ModelError, match="not ready on this machine: run `vetrina models`"):
        open_extractor(str(tmp_path / "m"))


def test_a_fingerprint_is_of_weights_and_preprocessing_not_of_machines(
    own_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_callable(tmp_path / "one", lambda images: channels(WEIGHTS, images)["default"])
    save_callable(tmp_path / "other", lambda images: channels(WEIGHTS * 2, images)["default"])
    handles = [f"{tmp_path}/one", f"{tmp_path}/other", f"{tmp_path}/one#side=96"]
    for handle in handles:
        prepare(handle)
    first, *others = (identify_extractor(handle).fingerprint for handle in handles)
    assert len({first, *others}) == 3
    (tmp_path / "archive.tar.gz").write_bytes(packed(tmp_path / "one", under="inside"))
    monkeypatch.setenv("VETRINA_MODELS", str(tmp_path / "another-machine"))
    with pytest.raises(ModelError, match="not ready"):
        identify_extractor(handles[0])
    prepare(tmp_path / "archive.tar.gz")
    assert identify_extractor(f"{tmp_path}/archive.tar.gz").fingerprint == first


def test_naming_a_model_loads_no_tensorflow(published: str, hub: HubServer, hub_archives: dict[str, bytes]) -> None:
    from vetrina.detection.detector import prepare_detector

    prepare(published)
    detector = hub.publish(DETECTOR, hub_archives[DETECTOR])
    prepare_detector(detector, lambda line: None)
    code = (
        "import sys\n"
        "from vetrina.detection.detector import identify_detector\n"
        "from vetrina.embedding.extractor import identify_extractor\n"
        f"identify_extractor({published!r}); identify_detector({detector!r})\n"
        "assert not {'tensorflow', 'tensorflow_hub', 'keras'} & set(sys.modules)"
    )
    asked = len(hub.requests)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert len(hub.requests) == asked


def test_the_tiny_models_have_the_entities_of_open_images() -> None:
    assert len(hub_models.ENTITIES) == 601
