"""No result shows the picture of the query, or of a better result, again."""

from collections.abc import Iterator

import pytest
from support.fault_server import FaultServer
from support.hostile import jpeg
from support.shops import opened_shop, rows_of

from vetrina.search.conditions import Conditions
from vetrina.search.window import ShopWindow

DISTINCT = Conditions(distinct=True)


@pytest.fixture(scope="module")
def window(
    tmp_path_factory: pytest.TempPathFactory, product_pictures: dict[str, bytes], bundled_models: None
) -> Iterator[ShopWindow]:
    """Two chairs, one of them also as a JPEG and under a second id; a cup; a box under five ids."""
    pictures = {f"/{name}.png": data for name, data in product_pictures.items()}
    pictures["/oak-chair-again.png"] = jpeg(product_pictures["oak-chair"], quality=85)
    with FaultServer(pictures) as server, opened_shop(tmp_path_factory.mktemp("distinct")) as shop:
        rows = rows_of(server, ["oak-chair", "oak-chair-again", "white-chair", "coffee-cup"])
        rows += [{"id": "oak-chair-copy", "url": server.url("/oak-chair.png")}]
        rows += [{"id": f"box-{number}", "url": server.url("/box.png")} for number in range(5)]
        shop.add(shop.catalog("all", rows))
        yield shop.deployment.window()


def _ids(window: ShopWindow, product_id: str, k: int, conditions: Conditions) -> list[str]:
    return [found.product_id for found in window.similar(product_id, k, conditions).answer.neighbours]


def test_copies_of_the_product_that_asks_are_left_out_and_k_is_filled_all_the_same(window: ShopWindow) -> None:
    plain = _ids(window, "oak-chair", 3, Conditions())
    assert plain[:2] == ["oak-chair-copy", "oak-chair-again"]
    found = window.similar("oak-chair", 3, DISTINCT)
    ids = [other.product_id for other in found.answer.neighbours]
    assert len(ids) == 3
    assert {name.split("-")[0] for name in ids} == {"white", "coffee", "box"}
    reasons = {other.product_id: other.same_as for other in found.left_out}
    assert reasons["oak-chair-copy"] is None and reasons["oak-chair-again"] is None


def test_of_results_that_are_copies_only_the_best_is_left(window: ShopWindow) -> None:
    found = window.similar("coffee-cup", 9, DISTINCT)
    ids = [other.product_id for other in found.answer.neighbours]
    assert len(ids) == 3
    assert {name for name in ids if name.startswith("box")} == {"box-0"}
    boxes = {other.product_id: other.same_as for other in found.left_out if other.product_id.startswith("box")}
    assert boxes == {f"box-{number}": "box-0" for number in range(1, 5)}
    assert found.answer.available == 9


def test_without_the_condition_all_copies_come(window: ShopWindow) -> None:
    found = window.similar("coffee-cup", 9)
    assert len(found.answer.neighbours) == 9 and found.left_out == []


def test_chosen_products_are_left_out_and_k_is_filled_all_the_same(window: ShopWindow) -> None:
    plain = window.similar("coffee-cup", 4).answer
    unwanted = frozenset(other.product_id for other in plain.neighbours[:2])
    found = window.similar("coffee-cup", 4, Conditions(exclude=unwanted))
    ids = [other.product_id for other in found.answer.neighbours]
    assert len(ids) == 4 and ids[:2] == [other.product_id for other in plain.neighbours[2:]]
    assert found.answer.available == plain.available - 2
    assert found.problems == []


@pytest.mark.parametrize("exact", [False, True])
def test_a_product_left_out_takes_none_that_shows_the_same_picture_with_it(window: ShopWindow, exact: bool) -> None:
    conditions = Conditions(distinct=True, exact=exact, exclude=frozenset({"box-0", "coffee-cup"}))
    ids = _ids(window, "coffee-cup", 9, conditions)
    assert "box-1" in ids and "box-0" not in ids and len(ids) == 3


def test_products_are_left_out_within_a_class_and_of_the_results_of_a_photo(
    window: ShopWindow, product_pictures: dict[str, bytes]
) -> None:
    chairs = window.similar("oak-chair", 9, Conditions("Chair", exclude=frozenset({"white-chair"}))).answer
    assert "white-chair" not in {other.product_id for other in chairs.neighbours}
    assert chairs.available == window.similar("oak-chair", 9, Conditions("Chair")).answer.available - 1
    boxes = frozenset(f"box-{number}" for number in range(5))
    found = window.search(window.photo(product_pictures["box"]), 9, Conditions(exclude=boxes)).answer
    assert found.available == len(found.neighbours) == 5


def test_an_id_to_leave_out_that_the_shop_does_not_have_is_told_and_changes_nothing(window: ShopWindow) -> None:
    plain = window.similar("oak-chair", 3)
    found = window.similar("oak-chair", 3, Conditions(exclude=frozenset({"box-O"})))
    assert found.answer == plain.answer
    (problem,) = found.problems
    assert problem.startswith("Nothing to leave out: There is no product 'box-O' in the index; did you mean 'box-0'")
    many = window.similar("oak-chair", 3, Conditions(exclude=frozenset({*"abcdefg", "box-0"})))
    assert len(many.problems) == 4 and many.problems[-1] == "Nothing to leave out for 4 ids more"


def test_the_product_that_a_photo_shows_stays_among_its_results(
    window: ShopWindow, product_pictures: dict[str, bytes]
) -> None:
    found = window.search(window.photo(product_pictures["box"]), 2, DISTINCT)
    ids = [other.product_id for other in found.answer.neighbours]
    assert ids[0] == "box-0" and not ids[1].startswith("box")
