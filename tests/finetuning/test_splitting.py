from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.drawn import drawn_square

from vetrina.errors import ModelError, SettingError
from vetrina.finetuning.plan import PARTS, TEST, Plan
from vetrina.finetuning.splitting import check_for_leaks, join_alike, split_examples
from vetrina.pictures.prints import Prints, print_of


def plan(**changes: object) -> Plan:
    return Plan("bundled:tiny", "category", **changes)  # type: ignore[arg-type]


def prints_of(squares: list[np.ndarray]) -> Prints:
    codes, cells = zip(*(print_of(square) for square in squares), strict=True)
    return Prints(np.ones(len(squares), bool), np.array(codes, np.uint64), np.array(cells))


@settings(max_examples=200, deadline=None)
@given(
    products=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 60)), min_size=1, max_size=150),
    seed=st.integers(0, 5),
    shares=st.sampled_from([(0.2, 0.1), (0.5, 0.0), (0.05, 0.9), (0.45, 0.45)]),
)
def test_no_group_is_in_two_parts_and_no_class_lacks_a_part(
    products: list[tuple[str, int]], seed: int, shares: tuple[float, float]
) -> None:
    labels = [label for label, _ in products]
    groups = [str(group) for _, group in products]
    chosen = plan(seed=seed, validation_share=shares[0], test_share=shares[1], min_per_class=3)
    try:
        split = split_examples(labels, groups, chosen)
    except ModelError:
        return
    check_for_leaks(groups, split.parts)
    assert len(split.parts) == len(labels)
    assert set(split.classes) | set(split.left_out) == set(labels)
    mixed = {
        group
        for group in groups
        if len({label for label, other in zip(labels, groups, strict=True) if other == group}) > 1
    }
    for label, group, part in zip(labels, groups, split.parts, strict=True):
        assert part in PARTS or label in split.left_out or group in mixed
        assert part is None or label in split.classes
    of_group = Counter(zip(groups, split.parts, strict=True))
    assert {part for (_, part) in of_group} - {None} == set(PARTS) - (set() if shares[1] else {TEST})


def test_a_split_keeps_the_shares_in_every_class_and_does_not_depend_on_the_order() -> None:
    labels = ["a"] * 100 + ["b"] * 50
    groups = [f"g{number}" for number in range(150)]
    split = split_examples(labels, groups, plan())
    counted = Counter(zip(labels, split.parts, strict=True))
    assert counted == {
        ("a", "train"): 70, ("a", "validation"): 20, ("a", "test"): 10,
        ("b", "train"): 35, ("b", "validation"): 10, ("b", "test"): 5,
    }  # fmt: skip
    backwards = split_examples(labels[::-1], groups[::-1], plan())
    assert backwards.parts[::-1] == split.parts
    assert split_examples(labels, groups, plan(seed=18)).parts != split.parts


def test_pictures_that_show_the_same_share_a_group_whatever_their_products() -> None:
    first, second = (drawn_square(label, 1, 96) for label in ("lime", "plum"))
    again = np.clip(first.astype(int) + 1, 0, 255).astype(np.uint8)
    groups = join_alike(["p", "q", "r", "q"], prints_of([first, second, again, drawn_square("cherry", 5, 96)]))
    assert groups == ["p", "q", "p", "q"]


def test_a_leak_is_refused() -> None:
    with pytest.raises(ModelError, match="The split leaks: 'g' is in the train and in the test part"):
        check_for_leaks(["g", "h", "g"], ["train", "train", "test"])


def test_a_class_with_two_pictures_is_left_out() -> None:
    labels = ["a"] * 6 + ["b"] * 6 + ["c"] * 2
    split = split_examples(labels, [str(number) for number in range(14)], plan())
    assert split.classes == ("a", "b") and split.left_out == {"c": 2}
    assert split.parts[-2:] == (None, None)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "No product has the label 'category', so there is nothing to learn"),
        (["a"] * 20, "All pictures have the same category, 'a': there is nothing to tell apart"),
        (["a", "a"], "All pictures have the same category, 'a'"),
        (["a"] * 20 + ["b"] * 2, r"Fewer than two classes of category have 5 different products.*: b \(2\)"),
        (["a"] * 2 + ["b"] * 2, r"too small are: a \(2\), b \(2\). Add pictures"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(labels: list[str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        split_examples(labels, [str(number) for number in range(len(labels))], plan())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs of the training is 0; it must be at least 1"),
        ({"batch": 1}, "batch of the training is 1; it must be at least 2"),
        ({"learning_rate": 0.0}, "learning_rate of the training is 0.0; it must be greater than 0"),
        ({"learning_rate": float("nan")}, "learning_rate of the training is nan"),
        ({"contrastive": -1.0}, "contrastive of the training is -1.0; it lies in 0 to 10"),
        ({"dropout": 1.0}, "dropout of the training is 1.0; it lies in 0 to 0.9"),
        ({"validation_share": 0.9, "test_share": 0.2}, "leave nothing to train on"),
        ({"validation_share": 0.0}, "leave nothing to train on or to validate with"),
        ({"seed": 1 << 31}, "seed of the training is 2147483648; it must be below 2147483648"),
        ({"amounts": "wild"}, "amounts of the augmentation is 'wild'; it is one of gentle, source"),
        ({"min_per_class": 2}, "min_per_class is 2; it must be at least 3"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        plan(**changes)
