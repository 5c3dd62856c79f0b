from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.drawn import SIDE, drawn_square, tiny_backbone, tiny_network

from vetrina.embedding.backbone import backbone_of
from vetrina.embedding.extractor import DEFAULT_EXTRACTOR, open_extractor
from vetrina.embedding.preprocessing import normalised
from vetrina.errors import ModelError
from vetrina.finetuning import pictures as pictures_module
from vetrina.finetuning.augmentation import AMOUNTS, augmented
from vetrina.finetuning.frozen import Views, freeze
from vetrina.finetuning.losses import balanced_weights, cross_entropy, supervised_contrastive
from vetrina.finetuning.network import block_ends, build_network
from vetrina.finetuning.plan import Plan
from vetrina.pictures.decoding import decode_picture

SOURCE = AMOUNTS["source"]
PREPROCESSING = tiny_backbone().preprocessing


def squares(count: int) -> np.ndarray:
    return np.stack([drawn_square("lime", number, SIDE) for number in range(count)])


def prepared(pictures: np.ndarray) -> np.ndarray:
    return np.stack([PREPROCESSING.of_square(square) for square in pictures])


def names(tensors: list[Any]) -> list[str]:
    return [tensor._keras_history.operation.name for tensor in tensors]


def plan(**changes: Any) -> Plan:
    return Plan("bundled:tiny", "category", **changes)


def test_blocks_end_where_shortcuts_are_merged() -> None:
    assert names(block_ends(tiny_network())) == ["merge2", "merge3"]


def test_without_shortcuts_each_layer_with_weights_is_a_block() -> None:
    import keras

    x = picture = keras.Input((8, 8, 3))
    for name in ("one", "two", "three"):
        x = keras.layers.Conv2D(4, 3, name=name)(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    model = keras.Model(picture, keras.layers.GlobalAveragePooling2D()(x))
    assert names(block_ends(model))[1:] == ["one_relu", "two_relu"]


def test_a_shortcut_over_everything_leaves_no_place_to_cut_but_its_own_end() -> None:
    import keras

    picture = keras.Input((8, 8, 3))
    inner = keras.layers.Conv2D(3, 3, padding="same", name="inner")(picture)
    inner = keras.layers.Conv2D(3, 3, padding="same", name="second")(inner)
    x = keras.layers.Add(name="around")([picture, inner])
    x = keras.layers.Conv2D(4, 3, name="last")(x)
    assert names(block_ends(keras.Model(picture, keras.layers.GlobalAveragePooling2D()(x)))) == ["around"]


@pytest.mark.parametrize("unfrozen", [0, 1, 2, 99])
def test_front_and_back_together_are_the_whole_network(unfrozen: int) -> None:
    whole = tiny_network()
    network = build_network(whole, plan(unfrozen=unfrozen), 3)
    pictures = prepared(squares(3))
    parted = np.asarray(network.back(network.front(pictures)))
    assert np.abs(parted - np.asarray(whole(pictures))).max() <= 1e-5


def test_the_bundled_network_in_two_parts_gives_the_bundled_extractors_vectors(
    bundled_models: None, product_pictures: dict[str, bytes]
) -> None:
    backbone = backbone_of(DEFAULT_EXTRACTOR)
    network = build_network(backbone.build(), plan(), 3)
    pixels = decode_picture(next(iter(product_pictures.values()))).pixels
    parted = normalised(np.asarray(network.back(network.front(backbone.preprocessing(pixels)))))
    assert np.abs(parted - open_extractor(DEFAULT_EXTRACTOR).embed([pixels])).max() <= 1e-5


def test_what_learns_are_the_unfrozen_blocks_without_batch_norm_and_the_heads() -> None:
    def learnt(**changes: Any) -> set[str]:
        trunk, heads = build_network(tiny_network(), plan(**changes), 3).trained_variables()
        return {variable.path.split("/")[0].split("_")[0] for variable in [*trunk, *heads]}

    trunk, _ = build_network(tiny_network(), plan(unfrozen=2), 3).trained_variables()
    assert len(trunk) == 4 and not any("norm" in variable.path for variable in trunk)
    assert learnt(unfrozen=0) == {"classes", "projection"}
    assert learnt(unfrozen=0, contrastive=0.0) == {"classes"}


def test_the_vector_is_pooled_numbers_and_projection_each_of_length_one() -> None:
    network = build_network(tiny_network(), plan(projection=5), 3)
    vectors = np.asarray(network.extractor(prepared(squares(2))))
    assert vectors.shape == (2, 16 + 5)
    for part in (vectors[:, :16], vectors[:, 16:]):
        assert np.allclose(np.linalg.norm(part, axis=1), 1, atol=1e-5)
    assert np.asarray(network.classifier(prepared(squares(2)))).sum(axis=1) == pytest.approx(1, abs=1e-5)
    alone = build_network(tiny_network(), plan(contrastive=0.0), 3)
    assert alone.project is None and alone.extractor.output.shape == (None, 16)


def test_a_network_survives_being_saved(tmp_path: Path) -> None:
    import keras

    extractor = build_network(tiny_network(), plan(), 3).extractor
    extractor.save(tmp_path / "extractor.keras")
    again = keras.saving.load_model(tmp_path / "extractor.keras")
    pictures = prepared(squares(2))
    assert np.abs(np.asarray(again(pictures)) - np.asarray(extractor(pictures))).max() <= 1e-6


@pytest.fixture
def frozen_of(tmp_path: Path) -> Callable[..., Any]:
    network = build_network(tiny_network(), plan(unfrozen=1), 3)

    def freezing(
        pictures: np.ndarray, copied: list[int], variants: int, said: list[str], name: str = "a"
    ) -> tuple[Any, Any]:
        views = Views(pictures, np.array(copied, np.int64), variants, SOURCE, PREPROCESSING, 17)
        return freeze(network.front, views, name, tmp_path / "rows", said.append), network

    return freezing


def test_cached_rows_are_what_the_front_gives_for_pictures_and_copies(frozen_of: Callable[..., Any]) -> None:
    pictures, said = squares(40), []
    frozen, network = frozen_of(pictures, [3, 7], 2, said)
    whole = tiny_network()
    plain = np.asarray(network.back(frozen.plain(np.arange(40))))
    assert np.abs(plain - np.asarray(whole(prepared(pictures)))).max() <= 1e-5
    copy = augmented(pictures[7], np.random.default_rng((17, 7, 1)), SOURCE)
    drawn = frozen.drawn(np.array([1, 1, 0]), np.array([2, 0, 1]))
    expected = np.asarray(network.front(prepared(np.stack([copy, pictures[7]]))))
    assert np.abs(drawn[:2] - expected).max() <= 1e-5
    assert np.abs(drawn[2] - frozen.plain(np.array([3]))[0]).max() > 1e-3
    assert said == ["Frozen part: 40 pictures and 2 augmented copies of each of 2, 0 MB"]


def test_copies_are_fewer_when_they_would_take_too_much_room(
    frozen_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = 12 * 12 * 8 * 4
    monkeypatch.setattr("vetrina.finetuning.frozen.MOST_BYTES", 10 * row + 2 * 3 * row)
    said: list[str] = []
    frozen, _ = frozen_of(squares(10), [1, 2], 8, said)
    assert frozen.variants == 3
    assert said[0] == "8 augmented copies of each picture would take too much room: there are 3"


def test_rows_of_an_earlier_run_are_taken_only_when_whole_and_of_the_same_pictures(
    frozen_of: Callable[..., Any], tmp_path: Path
) -> None:
    pictures, said = squares(4), []
    first, _ = frozen_of(pictures, [0], 1, said)
    again, _ = frozen_of(pictures, [0], 1, said)
    assert said[-1] == "Frozen part: that of an earlier run, 0 MB" and (again.rows == first.rows).all()
    other, _ = frozen_of(squares(5), [0], 1, said, "b")
    assert said[-1].startswith("Frozen part: 5 pictures") and len(other.rows) == 6
    damaged = bytearray((tmp_path / "rows").read_bytes())
    damaged[100] ^= 1
    (tmp_path / "rows").write_bytes(damaged)
    frozen_of(squares(5), [0], 1, said, "b")
    assert said[-1].startswith("Frozen part: 5 pictures")


def test_a_disk_without_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", no_room)
    with pytest.raises(ModelError, match=r"Training needs 2 MB at .*: No space left on device. Make room"):
        pictures_module.mapped(tmp_path / "rows", (500, 1000), np.float32)
    assert not list(tmp_path.iterdir())


def test_balanced_weights_make_classes_weigh_the_same() -> None:
    weights = balanced_weights(np.array([0, 0, 0, 1]), 2)
    assert weights.tolist() == pytest.approx([4 / 6, 2.0])


def test_cross_entropy_is_that_of_smoothed_labels() -> None:
    logits = np.array([[2.0, 0.0, -1.0]], np.float32)
    shares = np.log(np.exp(logits) / np.exp(logits).sum())[0]
    wanted = np.array([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    assert float(cross_entropy(logits, np.array([0]), 0.1)[0]) == pytest.approx(-(wanted * shares).sum(), abs=1e-5)


def test_the_contrastive_loss_is_equation_2_of_its_paper() -> None:
    rng = np.random.default_rng(0)
    vectors, classes = rng.normal(size=(6, 4)).astype(np.float32), np.array([0, 0, 1, 1, 1, 2])
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    terms = []
    for one in range(5):  # the sixth has no partner
        weights = {other: np.exp(units[one] @ units[other] / 0.1) for other in range(6) if other != one}
        partners = [other for other in weights if classes[other] == classes[one]]
        terms.append(-np.mean([np.log(weights[other] / sum(weights.values())) for other in partners]))
    assert float(supervised_contrastive(vectors, classes, 0.1)) == pytest.approx(np.mean(terms), rel=1e-4)
    assert float(supervised_contrastive(vectors[:2], np.array([0, 1]), 0.1)) == 0
