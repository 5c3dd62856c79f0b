"""The split into training, validation and test part: by groups, so that no picture is in two of them.

Each class is shared out by itself (stratified). Which groups of it go where is decided by a hash of their names, so
a split hardly changes when products are added, and never with their order.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vetrina.disjoint import DisjointSets
from vetrina.errors import ModelError
from vetrina.finetuning.plan import PARTS, TEST, TRAIN, VALIDATION, Plan
from vetrina.pictures.likeness import DEFAULT_LIMITS, show_the_same
from vetrina.pictures.prints import Prints, differing_bits

_BLOCK = 1024  # of prints that are compared with all at once


@dataclass(frozen=True, slots=True)
class Split:
    """Where examples go.

    Attributes:
        classes: the labels that are learnt, sorted.
        left_out: class → its number of groups, for those too small.
        parts: for each example train, validation or test; None: its class, or that of its group, is left out.
    """

    classes: tuple[str, ...]
    left_out: dict[str, int]
    parts: tuple[str | None, ...]


def join_alike(groups: Sequence[str], prints: Prints) -> list[str]:
    """The groups, those joined whose pictures show the same (as near-duplicates do, whatever their vectors say).

    Args:
        groups: of n examples; prints: of their pictures.

    Returns:
        For each example the first name, by order, of the groups that were joined with its own.
    """
    sets = DisjointSets(len(groups))
    first: dict[str, int] = {}
    for place, group in enumerate(groups):
        sets.join(first.setdefault(group, place), place)
    for start in range(0, len(groups), _BLOCK):
        bits = differing_bits(prints.hashes[start : start + _BLOCK], prints.hashes[start:])
        for one, other in np.argwhere(np.triu(bits <= DEFAULT_LIMITS.bits, 1)) + start:
            if sets.root(one) != sets.root(other) and show_the_same(prints, one, other):
                sets.join(one, other)
    names: dict[int, str] = {}
    for place, group in enumerate(groups):
        root = sets.root(place)
        names[root] = min(names.get(root, group), group)
    return [names[sets.root(place)] for place in range(len(groups))]


def split_examples(labels: Sequence[str], groups: Sequence[str], plan: Plan) -> Split:
    """Share the examples out.

    Args:
        labels, groups: of n examples. A group with several labels counts for its most frequent one.

    Raises:
        ModelError: no examples, one class only, or fewer than two classes that are large enough.
    """
    of_group = _label_of_groups(labels, groups)
    sizes = Counter(of_group.values())
    found = sorted(set(labels))
    classes = tuple(label for label in found if sizes[label] >= plan.min_per_class)
    left_out = {label: sizes[label] for label in found if label not in classes}
    _check_classes(classes, left_out, plan)
    members: defaultdict[str, list[str]] = defaultdict(list)
    for group, label in of_group.items():
        members[label].append(group)
    part_of: dict[str, str] = {}
    for label in classes:
        part_of |= _share_out(members[label], plan)
    parts = [part_of.get(group) if label in classes else None for label, group in zip(labels, groups, strict=True)]
    return Split(classes, left_out, tuple(parts))


def check_for_leaks(groups: Sequence[str], parts: Sequence[str | None]) -> None:
    """Refuse a split that has a group in two parts. Raises ModelError."""
    seen: dict[str, str] = {}
    for group, part in zip(groups, parts, strict=True):
        if part is not None and seen.setdefault(group, part) != part:
            raise ModelError(f"The split leaks: {group!r} is in the {seen[group]} and in the {part} part")


def _label_of_groups(labels: Sequence[str], groups: Sequence[str]) -> dict[str, str]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for label, group in zip(labels, groups, strict=True):
        counts[group][label] += 1
    return {group: min(count, key=lambda label: (-count[label], label)) for group, count in counts.items()}


def _check_classes(classes: Sequence[str], left_out: dict[str, int], plan: Plan) -> None:
    if len(classes) > 1:
        return
    if not classes and not left_out:
        raise ModelError(
            f"No product has the label {plan.label!r}, so there is nothing to learn: name another attribute"
        )
    if len(classes) + len(left_out) == 1:
        only = next(iter((*classes, *left_out)))
        raise ModelError(
            f"All pictures have the same {plan.label}, {only!r}: there is nothing to tell apart; name another attribute"
        )
    small = ", ".join(f"{label} ({count})" for label, count in left_out.items())
    raise ModelError(
        f"Fewer than two classes of {plan.label} have {plan.min_per_class} different products or more; too small are: "
        f"{small}. Add pictures or name another attribute"
    )


def _share_out(groups: list[str], plan: Plan) -> dict[str, str]:
    """The groups of one class, at least three, in parts of which none is empty (but test, where its share is 0)."""
    ordered = sorted(groups, key=lambda group: hashlib.sha256(f"{plan.seed}/{group}".encode()).digest())
    tested = min(max(1, int(plan.test_share * len(groups))), len(groups) - 2) if plan.test_share else 0
    validated = min(max(1, int(plan.validation_share * len(groups))), len(groups) - 1 - tested)
    return {
        group: TEST if place < tested else VALIDATION if place < tested + validated else TRAIN
        for place, group in enumerate(ordered)
    }


def counts_of(parts: Sequence[str | None]) -> str:
    """How many examples each part has, for people."""
    counts = Counter(parts)
    return ", ".join(f"{counts[part]} {part}" for part in PARTS if counts[part])
