"""Where labels come from, and what is said of names that do not exist."""

import json

import numpy as np
import pytest

from vetrina.errors import NotFound, SettingError
from vetrina.evaluation.labels import DETECTED, labels_of, last_words, matching, parse_condition
from vetrina.search.answers import Products
from vetrina.search.attributes import parse_attributes

PRODUCTS = Products(["1", "2", "3"], ["a", "b", "c"], ["Chair", None, "Mug"], np.eye(3, dtype=np.float32))
BARE = Products(["1"], ["a"], [None], np.eye(1, dtype=np.float32))
TEXTS = {
    "1": json.dumps({"category": "Kitchen", "Möbel": "ja"}),
    "2": json.dumps({"category": "  ", "split": "validation"}),
    "3": json.dumps({"category": " Kitchen ", "split": "training"}),
    "gone": json.dumps({"category": "Bath"}),
}
ATTRIBUTES = parse_attributes(TEXTS)


def test_a_label_is_the_attribute_without_blanks_around_it() -> None:
    assert labels_of(PRODUCTS, ATTRIBUTES, "category") == {"1": "Kitchen", "3": "Kitchen"}


def test_a_detected_label_is_what_the_detector_saw_best() -> None:
    assert labels_of(PRODUCTS, ATTRIBUTES, DETECTED) == {"1": "Chair", "3": "Mug"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Category", "did you mean 'category'"),
        ("catgory", "did you mean 'category'"),
        ("MOBEL", "did you mean 'Möbel'"),
        ("detect", "did you mean 'detected'"),
        ("zzz", "there is 'category', 'split'"),
    ],
)
def test_an_unknown_attribute_brings_the_nearest_names(name: str, says: str) -> None:
    with pytest.raises(NotFound, match=says):
        labels_of(PRODUCTS, ATTRIBUTES, name)


def test_a_catalog_without_attributes_says_so() -> None:
    with pytest.raises(NotFound, match="there is 'detected'"):
        labels_of(PRODUCTS, {}, "category")


def test_a_detector_that_saw_nothing_says_so() -> None:
    with pytest.raises(NotFound, match="saw nothing"):
        labels_of(BARE, {}, DETECTED)


def test_the_last_word_of_a_name_is_its_noun() -> None:
    names = {"1": "Oak Armchair (red)", "2": "ARMCHAIR", "3": "(nothing else)", "4": "Étagère", "5": "Table, round"}
    assert last_words(names) == {"1": "armchair", "2": "armchair", "4": "étagère", "5": "round"}


def test_a_condition_chooses_products() -> None:
    assert matching(PRODUCTS, ATTRIBUTES, parse_condition(" split = validation ", "--split")) == {"2"}


def test_a_value_may_hold_an_equals_sign() -> None:
    assert parse_condition("size=a=b", "--queries").value == "a=b"


def test_an_unknown_value_brings_the_nearest_ones() -> None:
    with pytest.raises(NotFound, match="did you mean 'validation'"):
        matching(PRODUCTS, ATTRIBUTES, parse_condition("split=valid", "--split"))


@pytest.mark.parametrize("text", ["", "split", "=x", "split=", " = "])
def test_a_condition_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="--split is"):
        parse_condition(text, "--split")
