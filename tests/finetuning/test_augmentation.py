import numpy as np
import pytest
from support.drawn import drawn_square

from vetrina.finetuning.augmentation import AMOUNTS, Amounts, augmented

SOURCE = AMOUNTS["source"]
STILL = Amounts(rotation=0, shift=0, shear=0, zoom=(1, 1), flip=0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("amounts", AMOUNTS.values(), ids=AMOUNTS)
def test_augmentation_keeps_the_shape_and_makes_no_colour_that_the_picture_has_not(amounts: Amounts, seed: int) -> None:
    square = drawn_square("plum", seed, 96)
    seen = augmented(square, np.random.default_rng(seed), amounts)
    assert seen.shape == square.shape and seen.dtype == np.uint8
    for channel in range(3):
        assert square[..., channel].min() <= seen[..., channel].min()
        assert seen[..., channel].max() <= square[..., channel].max()
    one_colour = np.full((96, 96, 3), (10, 200, 90), np.uint8)
    assert (augmented(one_colour, np.random.default_rng(seed), amounts) == one_colour).all()


def test_the_same_seed_gives_the_same_view_and_another_seed_another() -> None:
    square = drawn_square("lime", 1, 96)
    views = [augmented(square, np.random.default_rng(seed), SOURCE) for seed in (1, 1, 2)]
    assert (views[0] == views[1]).all() and (views[0] != views[2]).any()


def test_without_amounts_the_picture_stays_as_it_is() -> None:
    square = drawn_square("lime", 2, 96)
    assert (augmented(square, np.random.default_rng(0), STILL) == square).all()


def test_flip_mirrors_and_zoom_two_halves_about_the_middle() -> None:
    square = drawn_square("cherry", 3, 96)
    flipped = augmented(square, np.random.default_rng(0), Amounts(0, 0, 0, (1, 1), flip=1))
    assert (flipped == square[:, ::-1]).all()
    mark = np.zeros((96, 96, 3), np.uint8)
    mark[32:64, 32:64] = 255
    small = augmented(mark, np.random.default_rng(0), Amounts(0, 0, 0, (2, 2), flip=0))
    rows, columns = np.nonzero(small[..., 0] > 127)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 55, 40, 55)


def test_views_stay_within_their_amounts() -> None:
    mark = np.zeros((200, 200, 3), np.uint8)
    mark[90:110, 90:110] = 255
    for name, least, most in (("source", 20 / 2, 20), ("gentle", 20 / 1.25, 20 / 0.8)):
        for seed in range(50):
            rows, columns = np.nonzero(augmented(mark, np.random.default_rng(seed), AMOUNTS[name])[..., 0] > 127)
            assert abs(rows.mean() - 99.5) < 21 and abs(columns.mean() - 99.5) < 21  # shifted by 20 at most
            # An area keeps its size under rotation, and shrinks by no more than both sides and the shear make it.
            assert 0.85 * least**2 < len(rows) < 1.1 * most**2
