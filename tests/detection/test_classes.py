import pytest

from vetrina.detection.classes import (
    PRESETS,
    ClassList,
    choose_classes,
    descendants,
    known_class,
    open_images_names,
    resolve_classes,
    within,
)
from vetrina.detection.detector import Detector
from vetrina.errors import SettingError

EVERYTHING = tuple(sorted(open_images_names()))


def test_the_vocabulary_has_the_601_boxable_names() -> None:
    assert len(open_images_names()) == 601
    assert {"Suit", "Footwear", "Luggage and bags", "Kitchen & dining room table"} <= open_images_names()


def test_every_class_of_the_bundled_detector_is_an_open_images_name(detector: Detector) -> None:
    assert set(detector.vocabulary) <= open_images_names()


@pytest.mark.parametrize(
    ("label", "ancestor"),
    [
        ("Dress", "Clothing"),
        ("Boot", "Footwear"),
        ("High heels", "Clothing"),
        ("Sandal", "Footwear"),
        ("Handbag", "Luggage and bags"),
        ("Handbag", "Fashion accessory"),
        ("Chair", "Furniture"),
        ("Desk", "Furniture"),
        ("Coffee table", "Table"),
        ("Car", "Land vehicle"),
        ("Car", "Vehicle"),
        ("Mug", "Kitchenware"),
        ("Bottle", "Tool"),
        ("Teddy bear", "Toy"),
        ("Car", "Car"),
    ],
)
def test_a_class_lies_within_its_ancestors(label: str, ancestor: str) -> None:
    assert within(label, ancestor)
    assert label == ancestor or not within(ancestor, label)


@pytest.mark.parametrize(
    ("label", "other"),
    [("Chair", "Table"), ("Clothing", "Dress"), ("Computer mouse", "Building"), ("Wheel", "Car"), ("x", "Car")],
)
def test_a_class_lies_within_nothing_else(label: str, other: str) -> None:
    assert not within(label, other)


def test_selecting_an_ancestor_selects_what_the_detector_knows_within_it(detector: Detector) -> None:
    assert resolve_classes(["Clothing"], detector.vocabulary) == {"Boot", "Footwear", "High heels"}
    assert resolve_classes(["Vehicle"], detector.vocabulary) == {"Bicycle", "Car", "Vehicle"}
    assert resolve_classes(["Car"], detector.vocabulary) == {"Car"}


def test_the_sources_unknown_name_is_an_error_with_the_right_one() -> None:
    with pytest.raises(SettingError, match=r"'Luggage & bags'.*did you mean 'Luggage and bags'\?"):
        resolve_classes(["Luggage & bags"], EVERYTHING)


def test_the_sources_missing_comma_is_named() -> None:
    with pytest.raises(SettingError, match="is a comma missing between 'Suit' and 'Footwear'"):
        ClassList.parse("Coat, SuitFootwear")


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("chair", "'Chair'"),
        ("Armchair", "'Chair'"),
        ("Tabel", "'Table'"),
        ("Fashion", "preset 'fashion'"),
        ("Kitchen and dining room table", "'Kitchen & dining room table'"),
        ("qqq", "presets: general, fashion"),
    ],
)
def test_an_unknown_name_is_answered_with_what_was_meant(written: str, hint: str) -> None:
    with pytest.raises(SettingError, match="Unknown class") as error:
        known_class(written)
    assert hint in str(error.value)


def test_a_known_name_that_the_detector_cannot_detect_is_reported_apart(detector: Detector) -> None:
    choice = choose_classes(["Chair", "Dress", "Cosmetics"], detector.vocabulary)
    assert choice.selected == {"Chair"} and choice.undetectable == ("Dress", "Cosmetics")


def test_a_list_of_which_nothing_can_be_detected_is_an_error_that_names_what_can(detector: Detector) -> None:
    with pytest.raises(SettingError, match="none of the classes Dress, Lamp; it knows: Bicycle"):
        resolve_classes(["Dress", "Lamp"], detector.vocabulary)
    with pytest.raises(SettingError, match="none of the classes"):
        resolve_classes([], detector.vocabulary)


def test_general_is_every_product_of_the_bundled_detector(detector: Detector) -> None:
    choice = ClassList.parse("general").choose(detector.vocabulary)
    assert choice.selected == set(detector.vocabulary) - {"Person", "Cattle", "Cat", "Dog"}
    assert choice.undetectable == ()


def test_general_has_products_of_every_kind_and_no_creatures() -> None:
    general = set(PRESETS["general"])
    assert {"Lamp", "Dress", "Sofa bed", "Teddy bear", "Tomato", "Knife", "Camera", "Suitcase"} <= general
    assert not general & {"Person", "Man", "Human face", "Dog", "Cat", "Building", "Skyscraper", "Rifle"}


def test_fashion_has_48_valid_classes_each_of_them_clothing() -> None:
    fashion = PRESETS["fashion"]
    assert len(set(fashion)) == len(fashion) == 48
    assert set(fashion) <= open_images_names() and {"Suit", "Footwear", "Luggage and bags"} <= set(fashion)
    assert set(fashion) == descendants("Clothing")
    assert ClassList.parse("fashion").choose(EVERYTHING).selected == set(fashion)


def test_fashion_tells_which_of_its_classes_the_bundled_detector_lacks(detector: Detector) -> None:
    choice = ClassList.parse("fashion").choose(detector.vocabulary)
    assert choice.selected == {"Boot", "Footwear", "High heels"}
    assert len(choice.undetectable) == 45 and "Suit" in choice.undetectable


def test_a_setting_is_names_and_presets_with_commas() -> None:
    assert ClassList.parse(" Chair,Table , Chair,").names == ("Chair", "Table")
    mixed = ClassList.parse("fashion,Kitchen & dining room table")
    assert mixed.names == (*PRESETS["fashion"], "Kitchen & dining room table")


def test_general_with_a_further_name_still_reports_that_name(detector: Detector) -> None:
    choice = ClassList.parse("general,Dog,Lion").choose(detector.vocabulary)
    assert "Dog" in choice.selected and choice.undetectable == ("Lion",)


@pytest.mark.parametrize("text", ["", "  ", ",,"])
def test_an_empty_list_is_an_error(text: str) -> None:
    with pytest.raises(SettingError, match="empty"):
        ClassList.parse(text)


def test_a_detector_may_have_names_of_its_own() -> None:
    assert resolve_classes(["sneaker"], ["sneaker", "Chair"]) == {"sneaker"}
    assert ClassList.parse("sneaker", ["sneaker"]).names == ("sneaker",)


def test_the_hierarchy_has_no_circle_and_no_stray_parent() -> None:
    for name in open_images_names():
        assert name not in descendants(name)
