"""What is to be trained, on which pictures, and what training gives.

Belongs here: the plan, the examples and the result, as data. Does not belong here: how any of it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vetrina.embedding.preprocessing import Preprocessing
from vetrina.errors import SettingError
from vetrina.finetuning.augmentation import AMOUNTS

TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train and how; all of it belongs in the model card and in the fingerprint.

    Attributes:
        base: handle of the extractor to start from.
        label: name of the catalog attribute that is learnt, or `detected` for the detector's labels.
        epochs: passes over the training part, at most. The learning rate falls to nothing along them, so many more
            make training stop, for want of a better epoch, while it is still high: with weights that never settled.
        batch: examples in one step.
        learning_rate: of the head, at its highest; it falls to nearly 0 along a cosine.
        trunk_rate: share of it that the unfrozen blocks learn with.
        patience: epochs without a better validation loss after which training stops.
        unfrozen: last blocks of the network that are trained besides the head; 0: the head alone.
        contrastive: weight of the supervised-contrastive loss; 0: none, and no projection in the vector.
        projection: numbers of the projection that the contrastive loss shapes.
        temperature: of the contrastive loss.
        dropout: share of the pooled numbers left out in a step, for the head.
        smoothing: share of a label's probability that is spread over all classes.
        augment: whether turned, shifted, sheared, scaled and mirrored copies are trained on.
        amounts: how far they differ from the picture: `gentle` or `source` (see `augmentation`).
        variants: such copies of each picture; their frozen part is computed once and kept.
        seed: of the split, the augmentation, the order and the dropout.
        validation_share, test_share: of the products, for stopping and for the report; the rest is trained on.
            Without a test part the validation part is reported, which flatters: the stop was chosen on it.
        min_per_class: a class with fewer different products is left out.
    """

    base: str
    label: str
    epochs: int = 15
    batch: int = 32
    learning_rate: float = 1e-3
    trunk_rate: float = 0.3
    patience: int = 10
    unfrozen: int = 3
    contrastive: float = 0.5
    projection: int = 128
    temperature: float = 0.1
    dropout: float = 0.3
    smoothing: float = 0.1
    augment: bool = True
    amounts: str = "gentle"
    variants: int = 5
    seed: int = 17
    validation_share: float = 0.2
    test_share: float = 0.1
    min_per_class: int = 5

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch": 2, "patience": 1, "unfrozen": 0, "projection": 1, "variants": 1, "seed": 0}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise SettingError(f"{name} of the training is {getattr(self, name)}; it must be at least {lowest}")
        if self.seed >= 1 << 31:
            raise SettingError(f"seed of the training is {self.seed}; it must be below {1 << 31}")
        for name in ("learning_rate", "trunk_rate", "temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                raise SettingError(f"{name} of the training is {getattr(self, name)}; it must be greater than 0")
        for name in ("contrastive", "dropout", "smoothing", "test_share"):
            highest = 10.0 if name == "contrastive" else 0.9
            if not 0 <= getattr(self, name) <= highest:
                raise SettingError(f"{name} of the training is {getattr(self, name)}; it lies in 0 to {highest:g}")
        if not 0 < self.validation_share < 1 or self.validation_share + self.test_share >= 1:
            raise SettingError(
                f"validation_share {self.validation_share} and test_share {self.test_share} leave nothing to train on "
                "or to validate with; use for example 0.2 and 0.1"
            )
        if self.amounts not in AMOUNTS:
            raise SettingError(f"amounts of the augmentation is {self.amounts!r}; it is one of {', '.join(AMOUNTS)}")
        if self.min_per_class < len(PARTS):
            raise SettingError(f"min_per_class is {self.min_per_class}; it must be at least {len(PARTS)}")

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled picture to learn from.

    Attributes:
        product_id: whose picture it is; opaque.
        label: the class.
        group: what must stay in one part of the split; usually the product. Examples whose pictures show the same are
            put into one group besides.
        square: side → the picture letterboxed to it, uint8 [side, side, 3] RGB; read only when called. Raises
            PictureError.
    """

    product_id: str
    label: str
    group: str
    square: Callable[[int], np.ndarray]


@dataclass(frozen=True, slots=True)
class Trained:
    """What training gives.

    Attributes:
        plan: what was trained.
        classes: the labels, sorted; what indices below point into.
        model: keras.Model, float32 preprocessed [n, side, side, 3] → [n, dims]: the network of the new extractor.
        classifier: keras.Model, the same input → [n, classes] probabilities.
        dims: numbers that `model` gives.
        preprocessing: what both want their pictures to go through; that of the base.
        base_fingerprint: of the extractor that training started from.
        data_digest: sha256 of what was learnt from: product ids, labels and pixels.
        history: for each epoch loss, accuracy, val_loss, val_accuracy, learning_rate, seconds.
        best_epoch: the epoch whose weights are kept, from 1.
        split: product id → train, validation or test.
        held_out: the part that `tested` is: test, or validation where there is no test part.
        tested: product ids of the held-out examples, in order.
        truth, predicted: their classes and those that the classifier gives: int64 [n], indices into `classes`.
        left_out: class → its number of different products, for classes too small to be learnt.
        unreadable: product id → what is wrong with its picture.
    """

    plan: Plan
    classes: tuple[str, ...]
    model: Any
    classifier: Any
    dims: int
    preprocessing: Preprocessing
    base_fingerprint: str
    data_digest: str
    history: list[dict[str, float]]
    best_epoch: int
    split: dict[str, str]
    held_out: str
    tested: tuple[str, ...]
    truth: np.ndarray
    predicted: np.ndarray
    left_out: dict[str, int]
    unreadable: dict[str, str]
