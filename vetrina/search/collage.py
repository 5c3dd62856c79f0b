"""A picture of a query beside its similar products and their scores, for reports and for eyes.

What belongs here: drawing. What does not: searching, decoding, and where the picture is shown.
"""

import io
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_WHITE, _PANEL, _MAT = (255, 255, 255), (244, 245, 247), (252, 252, 252)
_BORDER, _INK, _SOFT = (221, 224, 229), (28, 31, 36), (120, 126, 136)
_ACCENT = (14, 110, 92)
_TITLE_LINES = 2
_TITLE_CHARACTERS = 300  # what two lines can hold at most; keeps hostile titles from being measured
_OUTER, _GAP, _PAD = 28, 20, 18  # pixels: around all, between tiles, inside the query's panel


@dataclass(frozen=True, slots=True)
class Tile:
    """One product in a collage.

    Attributes:
        pixels: uint8 [height, width, 3], RGB, any size and shape.
        title: the product's name; cut with an ellipsis after two lines.
        caption: a short line such as a score.
        box: (ymin, xmin, ymax, xmax) as fractions of the picture, drawn when given.
    """

    pixels: np.ndarray
    title: str
    caption: str
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True, slots=True)
class _Style:
    """Sizes in pixels and fonts that follow from the tile's side."""

    side: int
    heading: Font
    title: Font
    caption: Font
    line: int
    head: int

    @property
    def tile_height(self) -> int:
        return self.side + 10 + self.line * (_TITLE_LINES + 1)


def draw_collage(query: Tile, results: Sequence[Tile], *, tile_side: int = 224, columns: int = 5) -> bytes:
    """The query at the left, set apart, and the results in rows of `columns`: the bytes of a PNG.

    Pictures are letterboxed into squares of `tile_side` pixels. Characters that the font lacks show as boxes.

    Raises:
        ValueError: for a tile side below 48, fewer columns than 1, or pixels that are not uint8 [h, w, 3].
    """
    if tile_side < 48 or columns < 1:
        raise ValueError("a collage needs tile_side >= 48 and columns >= 1")
    style = _style(tile_side)
    rows = max(1, math.ceil(len(results) / columns))
    across = min(columns, max(1, len(results)))
    panel_width = tile_side + 2 * _PAD
    grid_left = _OUTER + panel_width + 2 * _GAP
    top = _OUTER + _PAD
    width = grid_left + across * (tile_side + _GAP) - _GAP + _OUTER
    height = top + style.head + rows * (style.tile_height + _GAP) - _GAP + _PAD + _OUTER

    canvas = Image.new("RGB", (width, height), _WHITE)
    draw = ImageDraw.Draw(canvas)
    panel_bottom = top + style.head + style.tile_height + _PAD
    panel = (_OUTER, _OUTER, _OUTER + panel_width - 1, panel_bottom - 1)
    draw.rounded_rectangle(panel, radius=12, fill=_PANEL)
    draw.text((_OUTER + _PAD, top), "Query", font=style.heading, fill=_SOFT)
    _draw_tile(canvas, draw, query, (_OUTER + _PAD, top + style.head), style)
    heading = "Similar products" if results else "No similar products"
    heading = _fitted(heading, style.heading, width - _OUTER - grid_left)
    draw.text((grid_left, top), heading, font=style.heading, fill=_SOFT)
    for place, tile in enumerate(results):
        row, column = divmod(place, columns)
        left = grid_left + column * (tile_side + _GAP)
        _draw_tile(canvas, draw, tile, (left, top + style.head + row * (style.tile_height + _GAP)), style)
    stream = io.BytesIO()
    canvas.save(stream, "PNG")
    return stream.getvalue()


def _style(side: int) -> _Style:
    """Text in proportion to the tile, but legible on small ones."""
    size = max(11, round(side / 15))
    font, line = ImageFont.load_default(size=size), round(size * 1.4)
    return _Style(side, font, font, ImageFont.load_default(size=size + 1), line, line + 8)


def _draw_tile(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, corner: tuple[int, int], style: _Style
) -> None:
    """One tile: the picture in its square, then the title and the caption below."""
    left, top = corner
    side = style.side
    picture = _fit(tile.pixels, side)
    x, y = left + (side - picture.width) // 2, top + (side - picture.height) // 2
    draw.rectangle((left, top, left + side - 1, top + side - 1), fill=_MAT)
    canvas.paste(picture, (x, y))
    draw.rectangle((left, top, left + side - 1, top + side - 1), outline=_BORDER)
    if tile.box is not None:
        _draw_box(draw, tile.box, (x, y), picture.size)
    text_top = top + side + 8
    lines = _wrapped(tile.title, style.title, side)
    for number, line in enumerate(lines):
        draw.text((left, text_top + number * style.line), line, font=style.title, fill=_INK)
    below = text_top + max(1, len(lines)) * style.line
    draw.text((left, below), _fitted(_clean(tile.caption), style.caption, side), font=style.caption, fill=_ACCENT)


def _fit(pixels: np.ndarray, side: int) -> Image.Image:
    """The picture scaled to fit a square of `side` pixels."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"a tile needs uint8 [height, width, 3], not {pixels.dtype} {list(pixels.shape)}")
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return Image.fromarray(np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=how)))


def _draw_box(
    draw: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    corner: tuple[int, int],
    size: tuple[int, int],
) -> None:
    """A box in the accent colour with a light edge, so it shows on dark and on bright pictures."""
    if not all(math.isfinite(value) for value in box):
        return
    ymin, xmin, ymax, xmax = (min(1.0, max(0.0, value)) for value in box)
    xs = sorted(corner[0] + round(value * (size[0] - 1)) for value in (xmin, xmax))
    ys = sorted(corner[1] + round(value * (size[1] - 1)) for value in (ymin, ymax))
    draw.rectangle((xs[0], ys[0], xs[1], ys[1]), outline=_WHITE, width=4)
    draw.rectangle((xs[0], ys[0], xs[1], ys[1]), outline=_ACCENT, width=2)


def _clean(text: str) -> str:
    """One line without control, formatting and unpaired-surrogate characters, cut to a bounded length."""
    spaced = " ".join(text[: 4 * _TITLE_CHARACTERS].split())
    visible = (c for c in spaced if unicodedata.category(c) not in {"Cc", "Cf", "Cs"})
    return "".join(map(_drawable, visible))[:_TITLE_CHARACTERS]


@lru_cache(maxsize=4096)
def _drawable(character: str) -> str:
    """The character, or its unaccented letters where only those are in the font (it is nearly ASCII only)."""
    plain = unicodedata.normalize("NFKD", character.replace("ß", "ss"))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    if character.isascii() or not plain.isascii():
        return character
    font = ImageFont.load_default(size=16)
    return plain if bytes(font.getmask(character)) == bytes(font.getmask("\uffff")) else character


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    """The text in at most two lines of `width` pixels, broken between words, the last ellipsised."""
    lines: list[str] = []
    words = _clean(text).split(" ")
    while words and len(lines) < _TITLE_LINES - 1:
        taken = 1
        while taken < len(words) and font.getlength(" ".join(words[: taken + 1])) <= width:
            taken += 1
        line, words = " ".join(words[:taken]), words[taken:]
        if font.getlength(line) > width:  # one word longer than the line
            cut = _longest(line, font, width)
            words.insert(0, line[cut:])
            line = line[:cut]
        lines.append(line)
    return [*lines, _fitted(" ".join(words), font, width)] if words else lines


def _fitted(text: str, font: Font, width: int) -> str:
    """The text, ellipsised where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    return text[: _longest(text, font, width - font.getlength("…"))].rstrip() + "…"


def _longest(text: str, font: Font, width: float) -> int:
    """How many characters fit into `width` pixels; at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    return low
