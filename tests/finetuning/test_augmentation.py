import numpy as np
import pytest
from support.drawn import drawn_square

from vetrina.finetuning.augmentation import B4, Amounts, augmented

STILL = Amounts(rotation=0, shift=0, shear=0, zoom=(1, 1), flip=0)


@pytest.mark.parametrize("seed", range(20))
def test_augmentation_keeps_the_shape_and_makes_no_colour_that_the_picture_has_not(seed: int) -> None:
    square = drawn_square("plum", seed, 96)
    seen = augmented(square, np.random.default_rng(seed))
    assert seen.shape == square.shape and seen.dtype == np.uint8
    for channel in range(3):
        assert square[..., channel].min() <= seen[..., channel].min()
        assert seen[..., channel].max() <= square[..., channel].max()
    one_colour = np.full((96, 96, 3), (10, 200, 90), np.uint8)
    assert (augmented(one_colour, np.random.default_rng(seed)) == one_colour).all()


def test_the_same_seed_gives_the_same_view_and_another_seed_another() -> None:
    square = drawn_square("lime", 1, 96)
    views = [augmented(square, np.random.default_rng(seed)) for seed in (1, 1, 2)]
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


def test_the_amounts_are_those_of_the_recipe() -> None:
    assert (B4.rotation, B4.shift, B4.shear, B4.zoom, B4.flip) == (30.0, 0.1, 25.0, (1.0, 2.0), 0.5)
