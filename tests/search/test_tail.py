"""Before the rebuild, searches answer as they will after it: same products, same scores, same pictures."""

from collections.abc import Mapping, Sequence

import pytest
from support.fault_server import FaultServer
from support.shops import Shop, rows_of

from vetrina.errors import NotFound
from vetrina.search.conditions import Conditions

SPRING = ["oak-chair", "white-chair", "coffee-cup", "box", "umbrella"]
SUMMER = ["bootie", "slippers", "teddy-bear"]

Answers = Mapping[str, Sequence[tuple[str, float, str, str, str]]]


def _answers(shop: Shop, products: Sequence[str], photo: bytes) -> Answers:
    """Every neighbour of every product, and of a photo, with its score and the picture and batch it is known by."""
    window = shop.deployment.window()
    found = {product: window.similar(product, 50, Conditions(exact=True)).answer for product in products}
    found["(photo)"] = window.search(window.photo(photo), 50, Conditions(exact=True)).answer
    return {
        query: [
            (other.product_id, other.score, other.item.kind, other.item.crop_id, other.item.batch)
            for other in answer.neighbours
        ]
        for query, answer in found.items()
    }


def test_the_tail_answers_as_a_full_rebuild_does(
    shop: Shop, server: FaultServer, product_pictures: dict[str, bytes]
) -> None:
    shop.work(shop.register(shop.catalog("spring", rows_of(server, SPRING))))
    shop.publish()
    old = shop.deployment.window().index.version
    shop.work(shop.register(shop.catalog("summer", rows_of(server, SUMMER))))
    changes = [
        {"id": "white-chair", "url": "", "deleted": "yes"},  # removed
        {"id": "umbrella", "url": server.url("/bootie.png"), "deleted": ""},  # another picture
    ]
    shop.work(shop.register(shop.catalog("changes", changes)))

    products = sorted({*SPRING, *SUMMER} - {"white-chair"})
    photo = product_pictures["white-chair"]
    before = _answers(shop, products, photo)
    assert shop.deployment.window().index.version == old
    for query, found in before.items():
        ids = [product_id for product_id, *_ in found]
        assert set(ids) == set(products) - {query}
    assert before["umbrella"][0][0] == "bootie"
    with pytest.raises(NotFound):
        shop.similar("white-chair")

    shop.publish()
    assert shop.deployment.window().index.version != old
    # The same vectors in the same space, so scores are equal to the last bit, not about equal.
    assert _answers(shop, products, photo) == before


def test_a_class_filter_sees_the_tail_as_the_rebuild_will(shop: Shop, server: FaultServer) -> None:
    shop.work(shop.register(shop.catalog("spring", rows_of(server, ["box", "oak-chair"]))))
    shop.publish()
    shop.work(shop.register(shop.catalog("summer", rows_of(server, ["white-chair", "bootie"]))))

    def chairs() -> list[tuple[str, float]]:
        answer = shop.deployment.window().similar("oak-chair", 9, Conditions("Chair")).answer
        return [(found.product_id, found.score) for found in answer.neighbours]

    before = chairs()
    assert [product_id for product_id, _ in before] == ["white-chair"]
    shop.publish()
    assert chairs() == before
