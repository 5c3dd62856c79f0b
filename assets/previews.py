"""Pictures for the event log, inline: a small contact sheet of samples, and charts."""

import base64
from collections.abc import Iterable, Iterator
from itertools import islice

import cv2
import dagster as dg
import numpy as np

from vetrina.store import Store

_SIDE = 96  # pixels; eight of them in one JPEG stay near 20 kB, which an event row holds well
_MOST = 8
PREVIEW_BYTES = 100_000
"""Of a chart that an event row still holds."""


def strip(pictures: Iterable[np.ndarray]) -> dg.MarkdownMetadataValue:
    """The first few pictures (uint8 [h, w, 3] RGB) side by side, as Markdown."""
    tiles = [_tile(pixels) for pixels in islice(pictures, _MOST)]
    if not tiles:
        return dg.MetadataValue.md("No pictures")
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(np.hstack(tiles), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return dg.MetadataValue.md(f"![sample](data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()})")


def inline_png(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    """A chart as Markdown."""
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")


def stored_jpegs(store: Store, paths: Iterable[str]) -> Iterator[np.ndarray]:
    """Pictures that Vetrina itself wrote as JPEG, decoded; missing ones are passed over."""
    for path in paths:
        try:
            data = store.read(path, unchanging=True)
        except FileNotFoundError:
            continue
        yield cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _tile(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    tile = np.full((_SIDE, _SIDE, 3), 255, np.uint8)
    top, left = (_SIDE - size[1]) // 2, (_SIDE - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = small
    return tile
