"""A photo of nothing that the shop has is told so, and the nearest are listed all the same."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import refusal, run, values
from support.fault_server import FaultServer
from support.hostile import jpeg
from support.shops import Shop, opened_shop, rows_of

CHAIRS = 24


@pytest.fixture(scope="module")
def chairs(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[Shop]:
    """Two dozen chairs and boxes, each of another colour, and an index that dares to calibrate on so few."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("vetrina.index.familiarity.FEWEST", 20)
        pictures, names = {}, []
        for number in range(CHAIRS):
            name = ("oak-chair", "white-chair", "box")[number % 3]
            names.append(f"{name}-{number}")
            pictures[f"/{names[-1]}.png"] = tinted(product_pictures[name], number)
        with FaultServer(pictures) as server, opened_shop(tmp_path_factory.mktemp("chairs")) as shop:
            shop.add(shop.catalog("all", rows_of(server, names)))
            yield shop


def tinted(data: bytes, number: int) -> bytes:
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.float32)
    tint = 0.7 + 0.3 * np.random.default_rng(number).random(3)
    stream = io.BytesIO()
    Image.fromarray((pixels * tint).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def chair(tmp_path: Path, product_pictures: dict[str, bytes]) -> Path:
    file = tmp_path / "chair.jpg"
    file.write_bytes(jpeg(product_pictures["oak-chair"], quality=85))
    return file


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    file = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 200, 3)).astype(np.uint8)).save(file)
    return file


def test_a_strange_photo_is_told_that_nothing_is_similar_and_gets_the_nearest(chairs: Shop, noise: Path) -> None:
    found = values("search", noise, "-k", 3)
    assert found["nothing_similar"] is True
    assert found["likeness"] < found["min_similarity"]
    assert len(found["similar"]) == 3
    done = run("search", noise, "-k", 3)
    assert "Nothing in the shop is similar" in done.stdout
    assert found["similar"][0]["product_id"] in done.stdout


def test_a_photo_of_the_shops_goods_is_not_whatever_the_filters(chairs: Shop, chair: Path) -> None:
    found = values("search", chair, "-k", 3)
    assert found["nothing_similar"] is False
    filtered = values("search", chair, "-k", 3, "--class", "Box")
    assert (filtered["nothing_similar"], filtered["likeness"]) == (False, found["likeness"])
    assert "Nothing in the shop" not in run("search", chair).stdout


def test_the_floor_can_be_set(chairs: Shop, chair: Path, noise: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert values("search", chair, "--min-similarity", 1)["nothing_similar"] is True
    assert values("search", noise, "--min-similarity", 0)["nothing_similar"] is False
    monkeypatch.setenv("VETRINA_MIN_SIMILARITY", "1")
    assert values("search", chair)["min_similarity"] == 1
    assert values("search", chair, "--min-similarity", 0.1)["min_similarity"] == 0.1
    monkeypatch.setenv("VETRINA_MIN_SIMILARITY", "1.5")
    assert "VETRINA_MIN_SIMILARITY is 1.5; it must lie between 0 and 1" in refusal("search", chair)


def test_a_product_of_the_shop_is_not_judged(chairs: Shop) -> None:
    assert values("similar", "box-2")["nothing_similar"] is None
