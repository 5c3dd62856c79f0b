import requests


def test_a_photo_is_answered_with_what_looks_like_it(served: str, product_pictures: dict[str, bytes]) -> None:
    answer = requests.post(f"{served}/api/v1/search", data=product_pictures["oak-chair"], timeout=60).json()
    assert answer["query"]["detections"][0]["class"] == "Chair"
    assert answer["similar"][0]["product_id"] == "oak-chair"
