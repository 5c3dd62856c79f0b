"""What is shown now: a window and its goods, swapped as one when the store has something newer.

A request takes `Showcase.now` once and works with that to its end, so no answer is mixed from two states.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from vetrina.bounded_cache import BoundedCache
from vetrina.errors import NotFound, VetrinaError
from vetrina.search.window import ShopWindow
from web.problems import NothingToShow
from web.shown.goods import Goods

_log = logging.getLogger(__name__)
_MOST_ANSWERS = 16 << 20  # bytes
_ENTRY = 400  # bytes that an answer takes besides its data


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it is sent, and its ETag."""

    data: bytes
    tag: str


def _answers() -> BoundedCache[Answer]:
    return BoundedCache(_MOST_ANSWERS, lambda answer: len(answer.data) + _ENTRY)


@dataclass(frozen=True, slots=True)
class Showing:
    """One state of the shop.

    Attributes:
        answers: those that were made of it, by what was asked.
        since: when it came to be shown, in seconds since 1970.
    """

    window: ShopWindow
    goods: Goods
    answers: BoundedCache[Answer] = field(default_factory=_answers, compare=False)
    since: float = field(default_factory=time.time)


class Showcase:
    """Holds what is shown, and looks for something newer in a thread of its own; a context manager.

    Args:
        open_window: opens a window on the shop as it is now.
        every: seconds between two looks.

    Attributes:
        problem: why the last look failed; None when it did not. What was shown before is shown on.
        looked_at: when a look last succeeded, in seconds since 1970; 0 before that.
    """

    def __init__(self, open_window: Callable[[], ShopWindow], every: float) -> None:
        self._open = open_window
        self._every = every
        self._now: Showing | None = None
        self._looking = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="showcase", daemon=True)
        self._never_published = False
        self.problem: str | None = None
        self.looked_at = 0.0

    def __enter__(self) -> Showcase:
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def now(self) -> Showing:
        """What is shown. Raises NothingToShow, in words for strangers: `problem` may name where the store lies."""
        if self._now is None:
            if self.problem is None:
                raise NothingToShow("The shop is being opened")
            if self._never_published:
                raise NothingToShow("No catalog was taken in yet: vetrina add CATALOG")
            raise NothingToShow("The shop cannot be opened now; /readyz and the log say why")
        return self._now

    def look(self) -> None:
        """Show what is newest; it is opened and made ready before it takes the place of the old."""
        with self._looking:  # who looks late must not show what is older
            self._look()

    def _look(self) -> None:
        try:
            if self._now is None or self._now.window.outdated():
                window = self._open()
                _open_models(window)
                self._now = Showing(window, Goods(window))
            self.problem = None
            self.looked_at = time.time()
        except VetrinaError as error:
            self._never_published = isinstance(error, NotFound)
            if self.problem != str(error):
                _log.warning("%s", error)
            self.problem = str(error)

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self.look()
            except Exception:
                # Whatever it was, the shop goes on with what it shows, and the next look may succeed.
                _log.exception("Looking for a newer state of the shop failed")
                self.problem = "Looking for a newer state of the shop failed; see the log"


def _open_models(window: ShopWindow) -> None:
    """So that the first photo does not wait for them. Products can be shown also where photos cannot be seen."""
    try:
        window.open_models()
    except VetrinaError as error:
        _log.warning("Photos cannot be searched: %s", error)
