"""What a fine-tuning achieved: figures that can be worked out by hand from extractors that look at one colour."""

from collections.abc import Sequence

import numpy as np
import pytest

from vetrina.embedding.preprocessing import Preprocessing
from vetrina.errors import ModelError, PictureError
from vetrina.finetuning.outcome import measure_outcome
from vetrina.finetuning.plan import Example, Plan, Trained

SIDE = 8
CLASSES = ("bright", "dark")


class Eye:
    """An extractor that sees how bright a picture is; a blind one sees the same in every picture."""

    handle, fingerprint, dims = "test:eye", "0" * 16, 2

    def __init__(self, *, blind: bool = False) -> None:
        self._blind = blind

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        turned = [0.0 if self._blind else float(p.mean()) / 255 for p in pictures]
        return np.array([[np.cos(angle), np.sin(angle)] for angle in turned], np.float32).reshape(-1, 2)


def example(name: str, label: str, level: int) -> Example:
    def square(side: int) -> np.ndarray:
        if level < 0:
            raise PictureError("truncated", "the file is cut")
        return np.full((side, side, 3), level, np.uint8)

    return Example(name, label, name, square)


def classifier(pictures: np.ndarray, *, training: bool) -> np.ndarray:
    """Bright above the middle."""
    bright = np.asarray(pictures).mean(axis=(1, 2, 3)) > 0.5
    return np.stack([bright, ~bright], axis=1).astype(np.float32)


def trained(split: dict[str, str], held_out: str = "test") -> Trained:
    nothing = np.zeros(0, np.int64)
    return Trained(
        plan=Plan(base="test:eye", label="light"),
        classes=CLASSES,
        model=None,
        classifier=classifier,
        dims=2,
        preprocessing=Preprocessing(SIDE),
        base_fingerprint="0" * 16,
        data_digest="",
        history=[],
        best_epoch=1,
        split=split,
        held_out=held_out,
        tested=(),
        truth=nothing,
        predicted=nothing,
        left_out={},
        unreadable={},
    )


# The blind extractor answers in the order given, so the dark ones come first.
GALLERY = [example(f"d{n}", "dark", 10 + n) for n in range(6)] + [example(f"b{n}", "bright", 240 + n) for n in range(6)]
SPLIT = {one.product_id: "validation" if one.product_id.endswith("5") else "train" for one in GALLERY}
HELD = [example("x", "dark", 20), example("y", "bright", 250), example("z", "dark", 200)]


def test_products_that_were_held_out_beforehand_search_all_that_was_learnt_from() -> None:
    found = measure_outcome(trained(SPLIT), GALLERY, HELD, Eye(blind=True), Eye(), workers=2)
    assert found.answers == {"x": ("dark", "dark"), "y": ("bright", "bright"), "z": ("dark", "bright")}
    assert found.classification.accuracy.value == pytest.approx(2 / 3)
    retrieval = found.retrieval
    assert retrieval is not None and (retrieval.queries, retrieval.searched) == (3, 12)
    # Blind: five dark ones first for each; seeing: right, right, and the misplaced one is wrong five times.
    assert retrieval.base["precision@5"].value == pytest.approx(2 / 3)
    assert retrieval.tuned["precision@5"].value == pytest.approx(2 / 3)
    assert retrieval.tuned_macro["precision@5"].value == pytest.approx((0.5 + 1) / 2)
    assert retrieval.base_macro["precision@5"].value == pytest.approx((1 + 0) / 2)
    assert retrieval.difference["precision@5"].value == pytest.approx(0)
    assert found.split == {**SPLIT, "x": "test", "y": "test", "z": "test"}


def test_products_that_training_held_out_itself_are_not_among_those_searched() -> None:
    everything = [*GALLERY, *HELD]
    split = {**SPLIT, "x": "test", "y": "test", "z": "test"}
    found = measure_outcome(trained(split), everything, [], Eye(blind=True), Eye(), workers=1)
    assert (found.part, set(found.answers)) == ("test", {"x", "y", "z"})
    assert found.retrieval is not None and found.retrieval.searched == 12


def test_without_a_test_part_the_validation_part_asks_the_training_part() -> None:
    found = measure_outcome(trained(SPLIT, "validation"), GALLERY, [], Eye(), Eye(), workers=1)
    assert (found.part, set(found.answers)) == ("validation", {"d5", "b5"})
    assert found.retrieval is not None and found.retrieval.searched == 10


def test_what_cannot_be_asked_for_is_counted_with_its_reason() -> None:
    held = [*HELD, example("new", "striped", 100), example("cut", "dark", -1)]
    found = measure_outcome(trained(SPLIT), [*GALLERY, example("gone", "dark", -1)], held, Eye(), Eye(), workers=2)
    assert found.unasked == {"new": "striped was not learnt", "cut": "the file is cut"}
    assert len(found.answers) == 3


def test_nobody_to_ask_for_is_an_error_in_words() -> None:
    with pytest.raises(ModelError, match="No held-out product can be asked for"):
        measure_outcome(trained(SPLIT), GALLERY, [example("cut", "dark", -1)], Eye(), Eye(), workers=1)


def test_a_search_without_anything_alike_is_not_measured() -> None:
    only_dark = [one for one in GALLERY if one.label == "dark"]
    split = {one.product_id: "train" for one in only_dark}
    found = measure_outcome(trained(split), only_dark, [HELD[1]], Eye(), Eye(), workers=1)
    assert found.retrieval is None and found.as_json()["retrieval"] is None


def test_a_classifier_that_gives_no_numbers_is_refused() -> None:
    import dataclasses

    broken = dataclasses.replace(
        trained(SPLIT), classifier=lambda pictures, training: np.full((len(pictures), 2), np.nan, np.float32)
    )
    with pytest.raises(ModelError, match="The classifier gives numbers that are not finite"):
        measure_outcome(broken, GALLERY, HELD, Eye(), Eye(), workers=1)
