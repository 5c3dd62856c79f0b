import shutil
from pathlib import Path

import pytest
import requests
from support.shops import Shop
from support.web_goods import GOODS, IDS

from vetrina.catalog.batches import list_batches
from vetrina.errors import NotFound
from vetrina.search.explaining import origin_of
from vetrina.store import Store


def test_a_product_is_answered_with_what_looks_like_it(served: str, web_shop: Shop) -> None:
    answer = requests.get(f"{served}/api/v1/similar", params={"id": "oak-chair", "k": 3}, timeout=30).json()
    assert answer["query"]["name"] == "Oak chair"
    assert [other["product_id"] for other in answer["similar"]] == web_shop.similar("oak-chair", 3)
    assert all(other["name"] == GOODS[other["product_id"]][0] for other in answer["similar"])


def test_any_id_can_be_asked_for(served: str) -> None:
    for picture, (name, *_) in GOODS.items():
        asked = {"id": IDS.get(picture, picture)}
        answer = requests.get(f"{served}/api/v1/product", params=asked, timeout=30).json()
        assert answer["name"] == name


def test_an_unknown_id_is_a_problem_that_names_the_nearest(served: str) -> None:
    answer = requests.get(f"{served}/api/v1/similar", params={"id": "oak-chairs"}, timeout=30)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["type"] == "urn:vetrina:problem:not-found"
    assert "did you mean 'oak-chair'" in answer.json()["detail"]


def test_products_that_are_not_wanted_make_room_for_others(served: str) -> None:
    def ids(*exclude: str) -> list[str]:
        asked = {"id": "oak-chair", "k": 3, "exclude": exclude}
        similar = requests.get(f"{served}/api/v1/similar", params=asked, timeout=30).json()["similar"]
        return [other["product_id"] for other in similar]

    first, *others = ids()
    without = ids(first)
    assert without[:2] == others
    assert len(without) == 3


def test_an_explanation_tells_where_things_come_from_and_not_where_they_lie(served: str, web_shop: Shop) -> None:
    asked = {"id": "oak-chair", "result": "white-chair"}
    answer = requests.get(f"{served}/api/v1/explain", params=asked, timeout=30)
    origin = answer.json()["result"]["origin"]
    assert (origin["source"], origin["line"]) == ("goods.csv", 3)
    assert origin["picture"].endswith("/white-chair.png")
    assert str(web_shop.folder) not in answer.text


@pytest.mark.parametrize("lost", ["catalog.json", "catalog.parquet"])
def test_a_product_whose_batch_is_lost_is_told_so(web_shop: Shop, tmp_path: Path, lost: str) -> None:
    shutil.copytree(web_shop.folder / "store", tmp_path / "store")
    (batch,) = list_batches(store := Store(str(tmp_path / "store")))
    assert origin_of(store, "oak-chair", batch.key).line == 2
    (tmp_path / "store" / batch.path(lost)).unlink()
    with pytest.raises(NotFound, match=rf"batch {batch.key} with product 'oak-chair' is not in .* any more; restore"):
        origin_of(store, "oak-chair", batch.key)
