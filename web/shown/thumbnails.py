"""Pictures of products as browsers get them: encoded anew, so that no byte of a stranger's file reaches one."""

from __future__ import annotations

import cv2
import numpy as np

from vetrina.bounded_cache import BoundedCache
from vetrina.detection.crops import Box, cut
from vetrina.errors import NotFound
from vetrina.pictures.decoders import DecoderPool
from vetrina.store import Store, blob_path

SIDES = (96, 240, 480, 960)
"""Longest sides, in pixels, that pictures are made in."""
_QUALITY = 85


class Thumbnails:
    """Makes them, and remembers the last ones asked for; thread-safe.

    Args:
        most_bytes: memory that the remembered ones may take.
    """

    def __init__(self, store: Store, decoders: DecoderPool, most_bytes: int = 64 << 20) -> None:
        self._store = store
        self._decoders = decoders
        self._made: BoundedCache[bytes] = BoundedCache(most_bytes, len)

    def jpeg(self, sha256: str, side: int, box: Box | None = None) -> bytes:
        """A stored picture, or a part of it, at most `side` pixels long and never larger than it is.

        Raises:
            PictureError: it cannot be read.
            NotFound: it is not in the store any more.
        """
        key = (sha256, side, box)
        made = self._made.get(key)
        if made is None:
            try:
                data = self._store.read(blob_path(sha256))
            except FileNotFoundError as error:
                raise NotFound("The picture is not in the store any more") from error
            pixels = self._decoders.decode(data).pixels
            made = encoded(pixels if box is None else cut(pixels, box), side)
            self._made.put(key, made)
        return made


def encoded(pixels: np.ndarray, side: int) -> bytes:
    """uint8 [height, width, 3] RGB as a JPEG whose longest side has at most `side` pixels."""
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    pixels = np.ascontiguousarray(pixels)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return bytes(data)
