"""What an extractor is, and how one is opened by its handle.

Belongs here: the contract every extractor keeps and the list of handles. Not here: any one model.
"""

from collections.abc import Callable, Sequence
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


def _open_efficientnet_lite0() -> Extractor:
    # Imported on opening: a module that only names extractors must not load a runtime.
    from vetrina.embedding.efficientnet_lite import EfficientNetLite0

    return EfficientNetLite0()


_OPENERS: dict[str, Callable[[], Extractor]] = {DEFAULT_EXTRACTOR: _open_efficientnet_lite0}


def extractor_handles() -> tuple[str, ...]:
    """Every handle `open_extractor` accepts."""
    return tuple(_OPENERS)


def open_extractor(handle: str = DEFAULT_EXTRACTOR) -> Extractor:
    """Open an extractor by its handle.

    Raises:
        ModelError: the handle is unknown, or its weights are missing or altered.
    """
    return opener_of("extractor", handle, _OPENERS)()
