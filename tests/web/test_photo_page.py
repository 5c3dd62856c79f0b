import html
import re
from dataclasses import replace

import requests
from support.shops import Shop
from support.web_server import running

from orchestration.deployment import Deployment
from orchestration.serving import ServedShop
from web.application import build_app
from web.shop import Options


def names(answer: requests.Response) -> list[str]:
    return [html.unescape(name) for name in re.findall(r'<bdi class="name">(.*?)</bdi>', answer.text)]


def test_the_way_in_is_a_form_that_needs_no_script(served: str) -> None:
    text = requests.get(f"{served}/photo", timeout=30).text
    assert '<form class="intake" action="/photo" method="post" enctype="multipart/form-data"' in text
    assert "It is looked at and not kept. Up to 20 MB." in text


def test_without_a_script_the_photo_comes_back_within_the_page(served: str, product_pictures: dict[str, bytes]) -> None:
    file = {"photo": ("../../photo.png", product_pictures["technical-table"], "image/png")}
    answer = requests.post(f"{served}/photo", files=file, timeout=60)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert names(answer)[0] == "Drawing table"
    assert answer.text.count('src="data:image/jpeg;base64,') == 1
    assert "photo.png" not in answer.text
    # Nothing that was detected can be chosen there: the photo would have to be sent again.
    assert "object=" not in answer.text and '<g class="drawn">' in answer.text


def test_with_one_the_browser_has_the_photo_already(served: str, product_pictures: dict[str, bytes]) -> None:
    def ask(**query: str) -> requests.Response:
        return requests.post(
            f"{served}/photo",
            params=query,
            data=product_pictures["technical-table"],
            headers={"Content-Type": "image/png"},
            timeout=60,
        )

    whole = ask()
    assert "data:" not in whole.text and "data-own" in whole.text
    assert re.search(r'data-whole href="/photo" aria-current="true"', whole.text)
    chosen = ask(object="0", k="3")
    assert len(names(chosen)) == 3
    assert re.search(r'data-part="0" href="/photo\?object=0&amp;k=3" aria-current="true"', chosen.text)
    assert re.search(r'<a tabindex="-1" data-part="0" href="/photo\?object=0&amp;k=3" class="chosen">', chosen.text)
    narrowed = ask(box="0.1,0.1,0.9,0.9", **{"is.category": "Hall"})
    assert sorted(names(narrowed)) == ["Bootie", "Box", "Slippers"]


def test_a_part_of_a_products_picture_is_searched_with_and_the_product_itself_left_out(served: str) -> None:
    answer = requests.get(f"{served}/photo", params={"product": "oak-chair", "box": "0,0,0.5,1", "k": 12}, timeout=60)
    assert len(names(answer)) == 10
    assert "Oak chair" not in names(answer)
    assert '<g class="drawn">' in answer.text


def test_what_cannot_be_searched_with_is_told_on_a_page_with_a_way_on(served: str) -> None:
    def told(answer: requests.Response, status: int, says: str) -> None:
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert says in answer.text

    address = f"{served}/photo"
    told(requests.post(address, files={"photo": b"<svg/>"}, timeout=30), 422, "The picture cannot be used")
    told(requests.post(address, files={"photo": b""}, timeout=30), 400, ">Another photo</a>")
    told(requests.post(address, files={"other": b"x"}, timeout=30), 400, "no field")
    told(requests.get(address, params={"product": "nix"}, timeout=30), 404, "no product")
    told(requests.get(address, params={"product": "box", "box": "1,1,0,0"}, timeout=30), 400, "four shares")


def test_nothing_similar_is_said_kindly_and_the_nearest_are_shown_all_the_same(
    web_shop: Shop, product_pictures: dict[str, bytes]
) -> None:
    strict = Deployment(replace(web_shop.deployment.settings, min_similarity=0.999))
    with running(build_app(ServedShop(strict), Options())) as address:
        answer = requests.post(f"{address}/photo", files={"photo": product_pictures["teddy-bear"]}, timeout=60)
    assert "Nothing quite like it" in answer.text
    assert "These come nearest all the same." in answer.text
    assert names(answer)[0] == "Teddy bear"


def test_why_a_product_looks_like_a_part_or_a_photo_is_said(served: str, product_pictures: dict[str, bytes]) -> None:
    asked = {"product": "oak-chair", "box": "0,0,0.5,1", "result": "white-chair"}
    part = requests.get(f"{served}/why/part", params=asked, timeout=60).text
    assert "the part that was drawn" in part
    assert "Where it comes from" in part
    photo = requests.post(
        f"{served}/why/photo",
        params={"result": "oak-chair"},
        data=product_pictures["oak-chair"],
        headers={"Content-Type": "image/png"},
        timeout=60,
    ).text
    assert "<title>Why Oak chair looks like your photo – Vetrina</title>" in photo
    assert "Nothing else in the shop looks more like it." in photo
