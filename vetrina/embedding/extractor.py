"""What an extractor is, and how one is opened by its handle.

Belongs here: the contract every extractor keeps and the families of handles. Not here: any one model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vetrina.models.families import Family, Report, family_of
from vetrina.models.handles import SAVED_MODEL, TUNED, parse_handle
from vetrina.models.prepared import Prepared, note_prepared

if TYPE_CHECKING:
    from vetrina.store import Store

DEFAULT_EXTRACTOR = "bundled:efficientnet-lite0"


class Extractor(Protocol):
    """Turns pictures into vectors. `embed` may be called from several threads at once.

    Attributes:
        fingerprint: 16 hexadecimal digits; vectors are comparable exactly when their fingerprints are equal.
        handle: the setting text that opens this extractor.
        dims: how many numbers a vector has.
        batch: pictures in one call that it works fastest with; 1: each thread brings its own, as they come.
    """

    @property
    def fingerprint(self) -> str: ...  # noqa: D102
    @property
    def handle(self) -> str: ...  # noqa: D102
    @property
    def dims(self) -> int: ...  # noqa: D102
    @property
    def batch(self) -> int: ...  # noqa: D102

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Embed uint8 [h, w, 3] RGB pictures of any sizes: float32 [n, dims], rows of length 1."""
        ...


@dataclass(frozen=True, slots=True)
class ExtractorIdentity:
    """What is known of an extractor without its weights; the attributes are those of `Extractor`."""

    handle: str
    fingerprint: str


ExtractorFamily = Family[ExtractorIdentity, Extractor]


def _bundled() -> ExtractorFamily:
    # Imported on use, as every family: a module that only names extractors must not load a runtime.
    from vetrina.embedding.efficientnet_lite import FAMILY

    return FAMILY


def _keras() -> ExtractorFamily:
    from vetrina.embedding.keras_applications import FAMILY

    return FAMILY


def _saved_model() -> ExtractorFamily:
    from vetrina.embedding.saved_model import FAMILY

    return FAMILY


def _tuned() -> ExtractorFamily:
    from vetrina.embedding.tuned import FAMILY

    return FAMILY


_FAMILIES: dict[str, Callable[[], ExtractorFamily]] = {
    "bundled": _bundled,
    "keras": _keras,
    SAVED_MODEL: _saved_model,
    TUNED: _tuned,
}


def open_extractor(text: str = DEFAULT_EXTRACTOR, store: Store | None = None) -> Extractor:
    """Open an extractor by its handle.

    Args:
        text: the handle.
        store: where fine-tuned models lie; needed for their handles only.

    Raises:
        ModelError: the handle is unknown, or its weights are missing or altered.
    """
    return _family(text).open(parse_handle(text), store)


def identify_extractor(text: str = DEFAULT_EXTRACTOR) -> ExtractorIdentity:
    """Name an extractor without reading its weights. Raises ModelError: unknown, or not fetched yet."""
    return _family(text).identify(parse_handle(text))


def prepare_extractor(text: str, store: Store | None, report: Report) -> None:
    """Bring an extractor onto this machine; one that is there and right stays. Raises ModelError."""
    _family(text).prepare(parse_handle(text), store, report)
    note_prepared(Prepared("extractor", text))


def extractor_files(text: str) -> Sequence[Path]:
    """The files that an extractor takes on this machine. Raises ModelError: unknown, or not fetched yet."""
    return _family(text).files(parse_handle(text))


def _family(text: str) -> ExtractorFamily:
    return family_of("extractor", parse_handle(text), _FAMILIES)
