"""What an extractor is, and how one is opened by its handle.

Belongs here: the contract every extractor keeps and the list of handles. Not here: any one model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vetrina.models import opener_of

DEFAULT_EXTRACTOR = "bundled:efficientnet-lite0"


class Extractor(Protocol):
    """Turns pictures into vectors. `embed` may be called from several threads at once.

    Attributes:
        fingerprint: 16 hexadecimal digits; vectors are comparable exactly when their fingerprints are equal.
        handle: the setting text that opens this extractor.
        dims: how many numbers a vector has.
    """

    @property
    def fingerprint(self) -> str: ...  # noqa: D102
    @property
    def handle(self) -> str: ...  # noqa: D102
    @property
    def dims(self) -> int: ...  # noqa: D102

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Embed uint8 [h, w, 3] RGB pictures of any sizes: float32 [n, dims], rows of length 1."""
        ...


@dataclass(frozen=True, slots=True)
class ExtractorIdentity:
    """What is known of an extractor without its weights; the attributes are those of `Extractor`."""

    handle: str
    fingerprint: str
    dims: int


def _open_efficientnet_lite0() -> Extractor:
    # Imported on opening: a module that only names extractors must not load a runtime.
    from vetrina.embedding.efficientnet_lite import EfficientNetLite0

    return EfficientNetLite0()


def _identify_efficientnet_lite0() -> ExtractorIdentity:
    from vetrina.embedding.efficientnet_lite import IDENTITY

    return IDENTITY


_OPENERS: dict[str, Callable[[], Extractor]] = {DEFAULT_EXTRACTOR: _open_efficientnet_lite0}
_IDENTITIES: dict[str, Callable[[], ExtractorIdentity]] = {DEFAULT_EXTRACTOR: _identify_efficientnet_lite0}


def extractor_handles() -> tuple[str, ...]:
    """Every handle `open_extractor` accepts."""
    return tuple(_OPENERS)


def open_extractor(handle: str = DEFAULT_EXTRACTOR) -> Extractor:
    """Open an extractor by its handle.

    Raises:
        ModelError: the handle is unknown, or its weights are missing or altered.
    """
    return opener_of("extractor", handle, _OPENERS)()


def identify_extractor(handle: str = DEFAULT_EXTRACTOR) -> ExtractorIdentity:
    """Name an extractor without reading its weights; one that cannot be named otherwise is opened.

    Raises:
        ModelError: as `open_extractor`.
    """
    if handle in _IDENTITIES:
        return _IDENTITIES[handle]()
    opened = open_extractor(handle)
    return ExtractorIdentity(opened.handle, opened.fingerprint, opened.dims)
