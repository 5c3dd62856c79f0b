import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
from support.shops import Shop, opened_shop
from support.web_server import running

from orchestration.serving import ServedShop
from vetrina.detection.crops import Box
from vetrina.errors import NotFound
from vetrina.pictures.decoders import DecoderPool
from vetrina.store import Store, blob_path
from web.application import build_app
from web.shop import Options
from web.shown.thumbnails import Thumbnails

NAMES = [f"{number:064x}" for number in range(6)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path))
    rng = np.random.default_rng(0)
    for name in NAMES:
        picture = rng.integers(0, 255, (300, 600, 3), np.uint8)
        store.write(blob_path(name), bytes(cv2.imencode(".png", picture)[1]))
    return store


def _size(data: bytes) -> tuple[int, int]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels.shape[0], pixels.shape[1]


def test_a_picture_is_made_as_large_as_asked_for_and_never_larger_than_it_is(store: Store) -> None:
    with DecoderPool(1) as decoders:
        made = Thumbnails(store, decoders)
        assert _size(made.jpeg(NAMES[0], 96)) == (48, 96)
        assert _size(made.jpeg(NAMES[0], 960)) == (300, 600)
        assert _size(made.jpeg(NAMES[0], 240, Box(0, 0, 0.5, 0.1))) == (150, 60)


def test_what_was_made_is_remembered_within_its_bytes(store: Store) -> None:
    with DecoderPool(1) as decoders:
        one = len(Thumbnails(store, decoders).jpeg(NAMES[0], 240))
        made = Thumbnails(store, decoders, most_bytes=3 * one + one // 2)
        first = [made.jpeg(name, 240) for name in NAMES]
        for name in NAMES:
            store.delete(blob_path(name))
        assert made.jpeg(NAMES[-1], 240) is first[-1]
        with pytest.raises(NotFound, match="The picture is not in the store any more"):
            made.jpeg(NAMES[0], 240)


def test_pictures_of_products_alone_are_served_and_asked_again_by_their_tag(served: str, web_shop: Shop) -> None:
    found = requests.get(f"{served}/api/v1/product", params={"id": "oak-chair"}, timeout=30).json()
    address = f"{served}/api/v1/pictures/{found['sha256']}?side=96&box=0,0,0.5,0.5"
    picture = requests.get(address, timeout=30)
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
    assert max(_size(picture.content)) <= 96
    again = requests.get(address, headers={"If-None-Match": picture.headers["etag"]}, timeout=30)
    assert (again.status_code, again.content) == (304, b"")
    assert requests.get(f"{served}/api/v1/pictures/{'0' * 64}", timeout=30).status_code == 404


@pytest.mark.parametrize("asked", ["side=97", "box=0,0,1", "box=0,0,nan,1", "box=0.5,0,0.5,1", "box=a,b,c,d"])
def test_a_picture_asked_for_wrongly_is_a_problem(served: str, asked: str) -> None:
    found = requests.get(f"{served}/api/v1/product", params={"id": "oak-chair"}, timeout=30).json()
    answer = requests.get(f"{served}/api/v1/pictures/{found['sha256']}?{asked}", timeout=30)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:vetrina:problem:bad-request")
    assert "must be" in answer.json()["detail"]


def test_a_picture_that_the_store_has_lost_is_not_found(web_shop: Shop, tmp_path: Path) -> None:
    with opened_shop(tmp_path) as shop:
        shutil.copytree(web_shop.folder / "store", tmp_path / "store")
        with running(build_app(ServedShop(shop.deployment), Options())) as address:
            found = requests.get(f"{address}/api/v1/product", params={"id": "oak-chair"}, timeout=30).json()
            (tmp_path / "store" / blob_path(found["sha256"])).unlink()
            answer = requests.get(f"{address}/api/v1/pictures/{found['sha256']}?side=96", timeout=30)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:vetrina:problem:not-found")
    assert answer.json()["detail"] == "The picture is not in the store any more"
    assert "cache-control" not in answer.headers
