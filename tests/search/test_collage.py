"""The collage: what is drawn where, and titles of every kind."""

import io

import numpy as np
import pytest
from PIL import Image

from vetrina.search.collage import Tile, draw_collage


def plain(colour: tuple[int, int, int], *, height: int = 50, width: int = 50, title: str = "Chair") -> Tile:
    return Tile(np.full((height, width, 3), colour, np.uint8), title, "0.91", None)


def opened(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB"))


def area(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns [n, 2] of the pixels of one colour."""
    return np.argwhere((pixels == colour).all(axis=2))


RED, GREEN, BLUE = (200, 10, 20), (10, 200, 20), (10, 20, 200)


def test_the_query_stands_at_the_left_of_the_results() -> None:
    pixels = opened(draw_collage(plain(RED), [plain(GREEN), plain(BLUE)]))
    red, green, blue = (area(pixels, colour) for colour in (RED, GREEN, BLUE))
    assert red[:, 1].max() < green[:, 1].min()
    assert green[:, 1].max() < blue[:, 1].min()
    assert red[:, 0].min() == green[:, 0].min() == blue[:, 0].min()


def test_results_fill_rows() -> None:
    pixels = opened(draw_collage(plain(RED), [plain(GREEN)] * 3 + [plain(BLUE)], columns=3))
    assert area(pixels, BLUE)[:, 0].min() > area(pixels, GREEN)[:, 0].max()
    assert area(pixels, BLUE)[:, 1].min() == area(pixels, GREEN)[:, 1].min()


@pytest.mark.parametrize(("height", "width"), [(100, 50), (50, 100), (20, 1000), (1000, 20), (1, 5000), (7, 7)])
def test_pictures_keep_their_shape_inside_their_square(height: int, width: int) -> None:
    pixels = opened(draw_collage(plain(RED, height=height, width=width), [], tile_side=200))
    rows, columns = np.ptp(area(pixels, RED), axis=0) + 1
    assert rows == pytest.approx(max(1, min(200, 200 * height / width)), abs=3)
    assert columns == pytest.approx(max(1, min(200, 200 * width / height)), abs=3)


def test_a_box_is_drawn_when_given() -> None:
    tile = Tile(np.full((80, 80, 3), RED, np.uint8), "Chair", "", (0.25, 0.25, 0.75, 0.75))
    without = Tile(tile.pixels, tile.title, tile.caption, None)
    with_box, bare = opened(draw_collage(tile, [])), opened(draw_collage(without, []))
    changed = np.argwhere((with_box != bare).any(axis=2))
    red = area(bare, RED)
    height = np.ptp(red, axis=0)[0]
    margins = [*(changed.min(axis=0) - red.min(axis=0)), *(red.max(axis=0) - changed.max(axis=0))]
    assert margins == pytest.approx([height / 4] * 4, abs=2)


@pytest.mark.parametrize(
    "box", [(-1.0, -5.0, 9.0, 2.0), (0.9, 0.9, 0.1, 0.1), (0.5, 0.5, 0.5, 0.5), (float("nan"), 0, 1, 1)]
)
def test_a_strange_box_is_harmless(box: tuple[float, float, float, float]) -> None:
    opened(draw_collage(Tile(np.full((80, 8, 3), 9, np.uint8), "Chair", "", box), []))


@pytest.mark.parametrize(
    "title",
    ["", " ", "Sedia in velluto", "Stühle für Öfen, crème brûlée, Łódź", "שולחן עץ", "كرسي خشبي", "椅子", "🪑👩‍👩‍👧‍👦",
     "a\nb\tc\x00\x1b[31m", "\ud800 alone", "\u202eright to left", "x" * 100_000, "word " * 10_000, "e\u0301" * 50],
)  # fmt: skip
def test_every_title_and_caption_is_drawn_without_a_crash_and_within_its_tile(title: str) -> None:
    short = opened(draw_collage(plain(RED, title="A"), [plain(GREEN)]))
    tile = Tile(np.full((50, 50, 3), GREEN, np.uint8), title, title, None)
    pixels = opened(draw_collage(plain(RED, title="A"), [tile]))
    assert pixels.shape == short.shape
    assert (pixels[:, -20:] == 255).all()


def test_a_long_title_ends_with_an_ellipsis_and_a_short_one_is_whole() -> None:
    short, cut, cut_later = (
        draw_collage(plain(RED, title=title), []) for title in ("Chair", "chair " * 40, "chair " * 40 + "of oak")
    )
    assert short != cut
    assert cut == cut_later


def test_no_results_still_give_a_picture() -> None:
    pixels = opened(draw_collage(plain(RED), []))
    assert len(area(pixels, RED)) > 40_000


def test_the_same_tiles_give_the_same_bytes() -> None:
    assert draw_collage(plain(RED), [plain(BLUE)]) == draw_collage(plain(RED), [plain(BLUE)])


def test_other_pixels_and_sizes_are_refused() -> None:
    for pixels in (
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3)),
        np.zeros((0, 5, 3), np.uint8),
    ):
        with pytest.raises(ValueError, match="uint8"):
            draw_collage(Tile(pixels, "", "", None), [])
    with pytest.raises(ValueError, match="tile_side"):
        draw_collage(plain(RED), [], tile_side=10)
    with pytest.raises(ValueError, match="columns"):
        draw_collage(plain(RED), [], columns=0)
