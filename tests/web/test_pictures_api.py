import io
from typing import Any

import pytest
import requests
from PIL import Image


@pytest.fixture(scope="module")
def product(served: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{served}/api/v1/product?id=oak-chair", timeout=30).json()
    return found


def test_a_picture_is_made_in_a_size_and_kept_by_who_has_it(served: str, product: dict[str, Any]) -> None:
    address = f"{served}/api/v1/pictures/{product['sha256']}?side=96"
    answer = requests.get(address, timeout=30)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert max(Image.open(io.BytesIO(answer.content)).size) == 96
    assert requests.get(address, timeout=30).content == answer.content
    tag = answer.headers["etag"]
    assert requests.get(address, headers={"If-None-Match": tag}, timeout=30).status_code == 304
    larger = requests.get(address.replace("96", "240"), headers={"If-None-Match": tag}, timeout=30)
    assert larger.status_code == 200


def test_a_part_of_a_picture_is_cut_out(served: str, product: dict[str, Any]) -> None:
    address = f"{served}/api/v1/pictures/{product['sha256']}"
    answer = requests.get(address, params={"box": "0.25,0.25,0.75,0.5\n"}, timeout=30)
    width, height = Image.open(io.BytesIO(answer.content)).size
    assert height == pytest.approx(2 * width, abs=2)


@pytest.mark.parametrize(
    ("name", "status"), [("0" * 64, 404), ("x" + "0" * 64, 400), ("..%2f..%2fetc%2fpasswd", 404), ("A" * 64, 400)]
)
def test_what_is_no_picture_of_a_product_is_not_shown(served: str, name: str, status: int) -> None:
    assert requests.get(f"{served}/api/v1/pictures/{name}", timeout=30).status_code == status
