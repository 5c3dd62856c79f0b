"""The network against its weights file: the table of the family, and weights that belong to another network."""

from itertools import pairwise

import numpy as np
import pytest

from vetrina.embedding.legacy_torch import read_legacy_torch
from vetrina.embedding.lite_keras import NETWORKS, Block, LiteBuilder
from vetrina.errors import ModelError
from vetrina.models.bundled import LITE_WEIGHTS


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return read_legacy_torch(LITE_WEIGHTS["efficientnet-lite0"].read())


@pytest.mark.parametrize(
    ("name", "side", "blocks", "channels"),
    [
        ("efficientnet-lite0", 224, 16, [16, 24, 40, 80, 112, 192, 320]),
        ("efficientnet-lite1", 240, 21, [16, 24, 40, 80, 112, 192, 320]),
        ("efficientnet-lite2", 260, 21, [16, 24, 48, 88, 120, 208, 352]),
    ],
)
def test_the_table_gives_each_member_its_side_blocks_and_channels(
    name: str, side: int, blocks: int, channels: list[int]
) -> None:
    made = NETWORKS[name].blocks()
    assert NETWORKS[name].side == side and len(made) == blocks
    assert list(dict.fromkeys(block.filters for block in made)) == channels
    assert made[0] == Block(1, 3, 1, 32, 16) and made[-1].stride == 1, "the first and the last stage have one block"
    assert all(block.inputs == before.filters for before, block in pairwise(made))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_blocks.9._bn1.bias": None}, r"the tensor _blocks\.9\._bn1\.bias is missing"),
        ({"_conv_head.weight": np.zeros((1280, 352, 1, 1))}, r"is \(1280, 352, 1, 1\), not \(1280, 320, 1, 1\)"),
        ({"_fc.bias": np.zeros(18)}, r"_fc\.bias is \(18,\), not \(1000,\)"),
        ({"_blocks.16._bn0.bias": np.zeros(18)}, r"no place for _blocks\.16\._bn0\.bias"),
    ],
)
def test_weights_of_another_network_are_refused_with_the_tensor_that_does_not_fit(
    weights: dict[str, np.ndarray], change: dict[str, np.ndarray | None], message: str
) -> None:
    others = {name: tensor for name, tensor in (weights | change).items() if tensor is not None}
    with pytest.raises(ModelError, match=f"belong to another network: .*{message}"):
        LiteBuilder(NETWORKS["efficientnet-lite0"], others, folded=True).build()


def test_the_weights_of_one_member_do_not_fit_another(weights: dict[str, np.ndarray]) -> None:
    with pytest.raises(ModelError, match="belong to another network"):
        LiteBuilder(NETWORKS["efficientnet-lite1"], weights, folded=True).build()
