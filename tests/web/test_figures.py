from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from vetrina.states import State
from web.pages import figures


def test_every_state_has_words_and_a_colour() -> None:
    assert set(figures.STATES) == {state.value for state in State}
    text = (Path(figures.__file__).parent.parent / "static" / "operations.css").read_text()
    assert all(f".state-{state} " in text or f".state-{state}," in text for state in figures.STATES)


def test_parts_fill_the_bar_and_the_smallest_can_be_seen() -> None:
    parts = figures.parts_of({"rejected": 1, "indexed": 999_000, "indexed_whole": 999, "removed": 0})
    assert [part.state for part in parts] == ["indexed", "indexed_whole", "rejected"]
    assert [part.count for part in parts] == [999_000, 999, 1]
    assert sum(part.width for part in parts) == pytest.approx(100, abs=0.01)
    assert min(part.width for part in parts) > 1
    for part, following in pairwise(parts):
        assert part.start + part.width == pytest.approx(following.start, abs=0.01)
    assert figures.parts_of({}) == []


def _index(*classes: tuple[str | None, float, float | None]) -> dict[str, Any]:
    entries = [{"class": name, "recall": recall, "lower_95": low, "queries": 9} for name, recall, low in classes]
    return {"recall_target": 0.95, "classes": entries}


def test_recall_stands_on_a_scale_that_holds_every_bound_the_weakest_first() -> None:
    scale = figures.recall_scale(_index(("Chair", 1.0, 0.97), (None, 0.96, 0.93), ("Box", 0.9, 0.82)))
    assert (scale.least, scale.bounded) == (0.8, True)
    assert [(mark.label, mark.short) for mark in scale.marks] == [("Box", True), (None, False), ("Chair", False)]
    assert scale.target == pytest.approx(75)
    box, _, chair = scale.marks
    assert (box.place, box.low) == (pytest.approx(50), pytest.approx(10))
    assert chair.place == 100


def test_an_index_of_before_has_no_bounds_and_one_without_classes_no_weakest() -> None:
    scale = figures.recall_scale(_index(("Chair", 0.4, None)))
    assert (scale.bounded, scale.marks[0].low) == (False, None)
    assert 0 <= scale.least < 0.4
    weak = figures.weakest(_index((None, 0.1, None), ("Chair", 0.4, None), ("Box", 0.9, None)))
    assert weak is not None and weak["class"] == "Chair"
    assert figures.weakest(_index((None, 0.1, None))) is None


@pytest.mark.parametrize(
    ("passed", "says"),
    [
        (timedelta(seconds=5), "just now"),
        (timedelta(seconds=61), "1 minute ago"),
        (timedelta(hours=5, minutes=59), "5 hours ago"),
        (timedelta(days=40), "1 month ago"),
        (timedelta(days=800), "2 years ago"),
        (timedelta(seconds=-90), "just now"),
    ],
)
def test_ages_are_said_in_their_largest_unit(passed: timedelta, says: str) -> None:
    assert figures.age((datetime.now(UTC) - passed).isoformat()) == says


def test_shares_are_never_said_better_than_they_are() -> None:
    assert [figures.percent(share) for share in (1.0, 0.99999, 0.985, 0.0)] == ["100 %", "99.9 %", "98.5 %", "0 %"]
    assert figures.reason_in_words("fetch_failed: http-404") == "picture could not be fetched: http-404"
    assert figures.reason_in_words("something new") == "something new"
