"""What makes two products alike in an evaluation: a catalog attribute, or what the detector saw.

Belongs here: labels and conditions on attributes. Does not belong here: searching and measuring.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from vetrina.errors import NotFound, SettingError
from vetrina.search.answers import Products
from vetrina.search.attributes import Attributes
from vetrina.words import nearest

DETECTED = "detected"
"""Instead of an attribute's name: the label of the best detection on a product's picture."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Products whose `attribute` has the `value`."""

    attribute: str
    value: str

    def __str__(self) -> str:
        return f"{self.attribute}={self.value}"


def labels_of(products: Products, attributes: Attributes, label: str) -> dict[str, str]:
    """Product id → label, without the products that have none.

    Raises:
        NotFound: no product has such an attribute, or the detector saw nothing; says which names are near.
    """
    if label == DETECTED:
        seen = zip(products.product_ids, products.labels, strict=True)
        found = {product_id: name for product_id, name in seen if name is not None}
        if not found:
            raise NotFound("The detector saw nothing on any product; label by a catalog attribute instead")
        return found
    _known(attributes, label, others=(DETECTED,))
    return {name: attributes[name][label] for name in products.product_ids if label in attributes.get(name, {})}


def last_words(labels: Mapping[str, str]) -> dict[str, str]:
    """Only the last word of each label, in small letters and without what stands in brackets.

    Of an English product name that is the head noun: "Armchair (red)" and "Oak armchair" are alike. A label without
    a word is left out.
    """
    words = {key: re.findall(r"\w+", re.sub(r"\([^)]*\)", " ", label.casefold())) for key, label in labels.items()}
    return {key: found[-1] for key, found in words.items() if found}


def matching(products: Products, attributes: Attributes, condition: Condition) -> set[str]:
    """Ids of the products that meet a condition.

    Raises:
        NotFound: no product has such an attribute or such a value; says which are near.
    """
    _known(attributes, condition.attribute)
    values = {name: attributes.get(name, {}).get(condition.attribute) for name in products.product_ids}
    found = {name for name, value in values.items() if value == condition.value}
    if not found:
        known = Counter(value for value in values.values() if value is not None)
        raise NotFound(
            f"No product has {condition.attribute} = {condition.value!r}; {_suggestion(condition.value, known)}"
        )
    return found


def parse_condition(text: str, option: str) -> Condition:
    """`ATTRIBUTE=VALUE` as it was given to an option. Raises SettingError."""
    attribute, equals, value = text.partition("=")
    if not (equals and attribute.strip() and value.strip()):
        raise SettingError(f"{option} is {text!r}; write it as ATTRIBUTE=VALUE, such as split=validation")
    return Condition(attribute.strip(), value.strip())


def _known(attributes: Attributes, name: str, others: tuple[str, ...] = ()) -> None:
    known = Counter(attribute for values in attributes.values() for attribute in values)
    if name not in known:
        known.update(others)
        raise NotFound(f"No product has the attribute {name!r}; {_suggestion(name, known)}")


def _suggestion(name: str, known: Mapping[str, int]) -> str:
    """The known names that are near, or the most frequent ones."""
    return nearest(name, sorted(known, key=lambda other: (-known[other], other)))
