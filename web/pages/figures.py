"""Figures of the operations pages: states as parts of a bar, recall as marks on a scale, times as ages."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from web.pages.wording import counted

STATES = {
    "indexed": "searchable by picture and objects",
    "indexed_whole": "searchable by the whole picture",
    "pending": "waiting for a run",
    "fetch_failed": "picture could not be fetched",
    "not_a_picture": "not a usable picture",
    "too_small": "picture too small",
    "rejected": "row rejected",
    "superseded": "replaced by a later row",
    "removed": "removed",
    "unchanged": "unchanged",
}
"""State of a row → how it is said, in the order in which they are shown."""

CHECKS = {
    "coverage": "Coverage",
    "class_mix_is_usual": "Mix of classes",
    "neighbour_distance_is_usual": "Likeness to earlier pictures",
}
_NARROWEST = 1.2  # percent, of a part that is there at all
_AGES = ((86_400 * 365.25, "year"), (86_400 * 30.44, "month"), (86_400, "day"), (3600, "hour"), (60, "minute"))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar: the state, its words, its count, and where it lies in percent of the bar."""

    state: str
    says: str
    count: int
    start: float
    width: float


def parts_of(states: Mapping[str, int]) -> list[Part]:
    """The states as parts that fill a bar; one that is there at all can be seen."""
    there = [(state, says, states[state]) for state, says in STATES.items() if states.get(state)]
    total = sum(count for *_, count in there)
    wide = [max(100 * count / total, _NARROWEST) for *_, count in there]
    parts, start = [], 0.0
    for (state, says, count), width in zip(there, wide, strict=True):
        share = 100 * width / sum(wide)
        parts.append(Part(state, says, count, round(start, 3), round(share, 3)))
        start += share
    return parts


def reason_in_words(reason: str) -> str:
    """A reason as it is counted, "state: code", for people."""
    state, _, code = reason.partition(": ")
    says = STATES.get(state, state)
    return f"{says}: {code}" if code else says


def check_in_words(check: str) -> str:
    """What a judgement is about."""
    return CHECKS.get(check, check)


@dataclass(frozen=True, slots=True)
class Mark:
    """One class on the scale of recall; places in percent of the scale.

    Attributes:
        label: None: of items that show no class.
        low: where its lower bound lies; None where that was not measured.
    """

    label: str | None
    queries: int
    recall: float
    lower: float | None
    place: float
    low: float | None
    short: bool


@dataclass(frozen=True, slots=True)
class Scale:
    """Recall per class, the weakest first, on a scale from `least` to 1; `target` is a place on it, in percent.

    Attributes:
        bounded: whether lower bounds were measured.
    """

    least: float
    target: float
    marks: list[Mark]
    bounded: bool


def recall_scale(index: Mapping[str, Any]) -> Scale:
    """The recall per class of an index version."""
    classes: Sequence[Mapping[str, Any]] = index["classes"]
    target = index["recall_target"]
    bounds = [entry["lower_95"] for entry in classes if entry["lower_95"] is not None]
    lowest = min([target, *(entry["recall"] for entry in classes), *bounds])
    least = max(0.0, math.floor((lowest - 0.01) * 20) / 20)

    def place(value: float) -> float:
        return round(100 * (value - least) / (1 - least), 2)

    marks = [
        Mark(
            entry["class"],
            entry["queries"],
            entry["recall"],
            entry["lower_95"],
            place(entry["recall"]),
            None if entry["lower_95"] is None else place(entry["lower_95"]),
            entry["recall"] < target,
        )
        for entry in sorted(classes, key=lambda entry: (entry["recall"], str(entry["class"])))
    ]
    return Scale(least, place(target), marks, bool(bounds))


def weakest(index: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The class with the lowest recall; None where no class was measured."""
    named = [entry for entry in index["classes"] if entry["class"] is not None]
    return min(named, key=lambda entry: float(entry["recall"]), default=None)


def age(moment: str) -> str:
    """How long ago a time (ISO 8601) was, in its largest unit."""
    seconds = max(0.0, time.time() - datetime.fromisoformat(moment).timestamp())
    return f"{lasting(seconds)} ago" if seconds >= 60 else "just now"


def lasting(seconds: float) -> str:
    """A duration in its largest unit."""
    for length, unit in _AGES:
        if seconds >= length:
            return counted(int(seconds // length), unit)
    return counted(int(seconds), "second")


def moment(text: str) -> str:
    """A time (ISO 8601) for people, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%d %b %Y, %H:%M UTC")


def percent(share: float) -> str:
    """A share with one digit; 100 % only where nothing is missing."""
    shown = math.floor(share * 1000) / 10
    return f"{shown:g} %"


def size(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3))} kB"
