"""Search by photo over HTTP: the same answers as on the command line, whichever way the photo comes."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from support.hostile import blank_png
from support.shops import Shop
from support.web_goods import IDS

from orchestration.answers import similar_to_photo
from vetrina.search.conditions import Conditions
from vetrina.search.window import ShopWindow


def search(served: str, data: bytes, **parameters: object) -> dict[str, Any]:
    answer = requests.post(f"{served}/api/v1/search", params=parameters, data=data, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(served: str, data: bytes, **parameters: object) -> tuple[int, str]:
    answer = requests.post(f"{served}/api/v1/search", params=parameters, data=data, timeout=60)
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["detail"]


@pytest.fixture(scope="module")
def chair(product_pictures: dict[str, bytes]) -> bytes:
    return product_pictures["oak-chair"]


def test_a_photo_is_answered_as_on_the_command_line(
    served: str, web_shop: Shop, product_pictures: dict[str, bytes], tmp_path: Path
) -> None:
    for name in ("oak-chair", "umbrella", "coffee-cup"):
        file = tmp_path / f"{name}.png"
        file.write_bytes(product_pictures[name])
        by_command = similar_to_photo(web_shop.deployment, file, 4, Conditions(distinct=True))
        by_http = search(served, product_pictures[name], k=4)
        assert by_http["query"]["detections"] == by_command["query"]["detections"]
        for member in ("similar", "left_out", "available", "nothing_similar", "likeness", "exact"):
            assert by_http[member] == by_command[member]


def test_a_photo_may_come_as_bytes_as_a_form_or_as_a_product_of_the_shop(served: str, chair: bytes) -> None:
    address = f"{served}/api/v1/search"
    plain = search(served, chair)
    assert plain["similar"][0]["product_id"] == "oak-chair"
    named = requests.post(address, data=chair, headers={"Content-Type": "image/png"}, timeout=60).json()
    other_fields = {"k": (None, "7"), "photograph": ("x.png", b"not this one"), "photo": ("../../etc/passwd", chair)}
    form = requests.post(address, files=other_fields, timeout=60).json()
    product = requests.post(address, json={"product_id": "oak-chair"}, timeout=60).json()
    assert plain == named == form == product


def test_any_product_can_be_searched_with_whatever_its_id(served: str) -> None:
    for product_id in IDS.values():
        answer = requests.post(f"{served}/api/v1/search", json={"product_id": product_id}, timeout=60).json()
        assert answer["similar"][0]["product_id"] == product_id
    unknown = requests.post(f"{served}/api/v1/search", json={"product_id": "oak-chairs"}, timeout=60)
    assert unknown.status_code == 404 and "did you mean 'oak-chair'" in unknown.json()["detail"]


def test_one_detected_object_can_be_searched_with_by_its_number(served: str, chair: bytes) -> None:
    (detected,) = search(served, chair)["query"]["detections"]
    assert (detected["object"], detected["class"]) == (0, "Chair")
    chosen = search(served, chair, object=0)
    assert chosen["query"]["detections"] == [detected]
    assert {other["because_of"] for other in chosen["similar"]} == {"Chair"}


def test_a_box_that_was_drawn_is_searched_with_and_nothing_is_detected(served: str, chair: bytes) -> None:
    (detected,) = search(served, chair)["query"]["detections"]
    box = ",".join(map(str, detected["box"]))
    drawn, chosen = search(served, chair, box=box), search(served, chair, object=0)
    assert drawn["query"]["detections"] == []
    assert {other["because_of"] for other in drawn["similar"]} == {"chosen part"}
    scores = [[(other["product_id"], other["score"]) for other in found["similar"]] for found in (drawn, chosen)]
    assert scores[0] == scores[1]


def test_a_part_that_is_not_there_is_told(served: str, chair: bytes) -> None:
    assert refused(served, chair, object=1) == (
        404,
        "There is no object 1 on the photo: 1 was detected, counted from 0",
    )
    assert refused(served, chair, object=0, box="0,0,1,1") == (400, "Give either a box or an object, not both")
    for box in ("nan,0,1,1", "0,0,nan,1", "0,0,1", "0,0,1,1,1", "0.5,0,0.5,1", "1,0,0,1", "-1,0,1,1", "0,0,inf,1", "a"):
        status, detail = refused(served, chair, box=box)
        assert status == 400 and detail.startswith("box must be ymin,xmin,ymax,xmax")
    assert refused(served, chair, object=-1)[0] == refused(served, chair, object="first")[0] == 400


def test_results_meet_the_conditions(served: str, chair: bytes) -> None:
    seats = search(served, chair, **{"class": "Chair"})["similar"]
    assert {other["product_id"] for other in seats} == {"oak-chair", "white-chair", "technical-table"}
    cheap = search(served, chair, where="price < 10", k=2)
    assert len(cheap["similar"]) == 2 and cheap["available"] == 3
    assert search(served, chair, exact="true", k=3)["missed"] == []
    assert refused(served, chair, where="colour = red")[0] == 404
    assert refused(served, chair, k=0)[0] == refused(served, chair, **{"class": "Chairr"})[0] == 400


def test_nothing_similar_is_said_beside_the_nearest(served: str) -> None:
    answer = search(served, blank_png(), min_similarity=0.99)
    assert answer["nothing_similar"] is True
    assert answer["likeness"] < answer["min_similarity"] == 0.99
    assert answer["similar"]


def test_requests_that_are_seen_together_are_answered_as_alone(
    served: str, product_pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {name: search(served, data) for name, data in product_pictures.items()}
    together: list[int] = []
    see = ShopWindow.photos

    def noted(window: ShopWindow, photos: list[Any]) -> Any:
        together.append(len(photos))
        return see(window, photos)

    monkeypatch.setattr(ShopWindow, "photos_at_once", 8)
    monkeypatch.setattr(ShopWindow, "photos", noted)
    with ThreadPoolExecutor(16) as clients:
        lost = [clients.submit(refused, served, data, object=9) for data in list(product_pictures.values())[:3]]
        found = {name: clients.submit(search, served, data) for name, data in product_pictures.items()}
        assert all(one.result()[0] == 404 for one in lost)
        answers = {name: one.result() for name, one in found.items()}
    assert max(together) > 1 and sum(together) == len(product_pictures) + 3
    for name, answer in answers.items():
        assert json.dumps(answer) == json.dumps(alone[name])
