import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fault_server import Fault, FaultServer
from support.processes import REPOSITORY
from support.shops import Shop
from support.web_goods import GOODS, IDS

from vetrina_client import Photo, Problem, Product, Unreachable, Vetrina


@pytest.fixture(scope="module")
def vetrina(served: str) -> Iterator[Vetrina]:
    with Vetrina(served + "/") as client:
        yield client


def test_similar_products_are_those_of_the_shop(vetrina: Vetrina, web_shop: Shop) -> None:
    answer = vetrina.similar("oak-chair", k=3)
    assert [other.product_id for other in answer.similar] == web_shop.similar("oak-chair", 3)
    assert isinstance(answer.query, Product)
    assert (answer.query.name, answer.query.attributes["price"]) == ("Oak chair", "89.00")
    assert answer.similar[0].name == GOODS[answer.similar[0].product_id][0]
    assert answer.similar == sorted(answer.similar, key=lambda other: -other.score)
    assert (answer.available, answer.left_out, answer.missed) == (10, [], None)


def test_conditions_reach_the_server(vetrina: Vetrina) -> None:
    answer = vetrina.similar("oak-chair", k=20, where="price < 20", exact=True, duplicates=True)
    names = {IDS.get(picture, picture) for picture, (_, _, price) in GOODS.items() if float(price) < 20}
    assert {other.product_id for other in answer.similar} == names
    assert (answer.exact, answer.missed) == (True, [])
    assert "slippers" in names
    fewer = vetrina.similar("oak-chair", k=20, where="price < 20", exclude=["slippers", "box"], duplicates=True)
    assert {other.product_id for other in fewer.similar} == names - {"slippers", "box"}
    chairs = vetrina.similar("box", class_name="Chair").similar
    assert {other.class_name for other in chairs} == {"Chair"}


def test_any_id_can_be_asked_for(vetrina: Vetrina) -> None:
    for picture, product_id in IDS.items():
        assert vetrina.product(product_id).name == GOODS[picture][0]


def test_a_photo_and_a_thing_on_it_are_searched_with(
    vetrina: Vetrina, product_pictures: dict[str, bytes], tmp_path: Path
) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(product_pictures["oak-chair"])
    answer = vetrina.search(file, k=2, duplicates=True)
    assert answer.similar[0].product_id == "oak-chair"
    assert isinstance(answer.query, Photo)
    chair = answer.query.detections[0]
    assert (chair.number, chair.class_name) == (0, "Chair")
    chosen = vetrina.search(product_pictures["oak-chair"], number=0, class_name="Chair")
    assert {found.because_of for found in chosen.similar} == {"Chair"}
    drawn = vetrina.search(product_pictures["oak-chair"], box=chair.box, min_similarity=0)
    assert drawn.similar[0].because_of == "chosen part"


def test_a_photo_from_inside_the_network_is_refused(vetrina: Vetrina, served: str) -> None:
    with pytest.raises(Problem) as refused:
        vetrina.search_address(f"{served}/static/picture.jpg")
    assert refused.value.status in (400, 422)


def test_products_are_listed_in_parts(vetrina: Vetrina, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = vetrina.products("chair", count=1)
    assert (listing.total, [product.name for product in listing.products]) == (2, ["Oak chair"])
    assert ("Chair", 2) in [(found.class_name, found.products) for found in listing.classes]
    monkeypatch.setattr("vetrina_client.client._PAGE", 4)
    names = [product.name for product in vetrina.every_product()]
    assert sorted(map(str, names)) == sorted(name for name, *_ in GOODS.values())


def test_a_picture_is_a_jpeg(vetrina: Vetrina) -> None:
    product = vetrina.product("oak-chair")
    whole = vetrina.picture(product.sha256, side=96)
    part = vetrina.picture(product.sha256, side=96, box=product.items[1].box)
    assert whole.startswith(b"\xff\xd8\xff")
    assert part.startswith(b"\xff\xd8\xff")
    assert part != whole


def test_a_problem_says_what_the_server_says(vetrina: Vetrina) -> None:
    with pytest.raises(
        Problem, match=r"There is no such thing: There is no product 'oak-chairs'.*did you mean"
    ) as raised:
        vetrina.similar("oak-chairs")
    assert (raised.value.status, raised.value.kind) == (404, "not-found")
    with pytest.raises(Problem) as raised:
        vetrina.search(b"no picture")
    assert (raised.value.status, raised.value.kind) == (422, "picture")
    assert raised.value.more["reason"]


def _busy(wait: str | None, times: int | None = None) -> Fault:
    problem = {"type": "urn:vetrina:problem:busy", "title": "Too many requests wait", "status": 503, "detail": "Later"}
    headers = {"Content-Type": "application/problem+json"} | ({} if wait is None else {"Retry-After": wait})
    return Fault(lambda handler: handler.reply(503, json.dumps(problem).encode(), headers), times)


PRODUCT = {
    "product_id": "1",
    "name": None,
    "sha256": "0" * 64,
    "attributes": {},
    "items": [],
    "newer_than_index": False,
}


def test_a_busy_server_is_asked_again_when_it_says() -> None:
    pages = {"/api/v1/product": json.dumps(PRODUCT | {"said by a newer server": 1}).encode()}
    with FaultServer(pages) as server, Vetrina(server.url(), attempts=3) as vetrina:
        server.fail("/api/v1/product", _busy("0.05", times=2))
        assert vetrina.product("1").product_id == "1"
        assert server.count("/api/v1/product") == 3


@pytest.mark.parametrize(("wait", "asked"), [("0", 3), ("11", 1), (None, 1), ("soon", 1)])
def test_a_server_that_stays_busy_is_a_problem(wait: str | None, asked: int) -> None:
    with FaultServer() as server, Vetrina(server.url(), attempts=3) as vetrina:
        server.fail("/api/v1/product", _busy(wait))
        with pytest.raises(Problem, match="Too many requests wait: Later") as raised:
            vetrina.product("1")
        assert raised.value.kind == "busy"
        assert server.count("/api/v1/product") == asked


def test_what_a_proxy_says_is_a_problem_too() -> None:
    with FaultServer() as server, Vetrina(server.url()) as vetrina:
        server.fail("/api/v1/product", Fault(lambda handler: handler.reply(502, b"<h1>Bad gateway</h1>")))
        with pytest.raises(Problem, match="502 Bad Gateway") as raised:
            vetrina.product("1")
        assert raised.value.kind == "http"


@pytest.mark.parametrize("page", [b"<h1>It works!</h1>", b"[]", b'{"product_id": 1}'])
def test_another_server_is_told_from_vetrina(page: bytes) -> None:
    said = "answered what cannot be understood; is it the address of Vetrina"
    with FaultServer({"/api/v1/product": page}) as server, pytest.raises(Unreachable, match=said):
        Vetrina(server.url()).product("1")


def test_a_server_that_is_not_there_is_said_so() -> None:
    with FaultServer() as server:
        address = server.url()
    with pytest.raises(Unreachable, match=r"/api/v1 cannot be reached"):
        Vetrina(address).product("1")


def test_the_client_needs_nothing_of_the_house() -> None:
    needed = set()
    for module in (REPOSITORY / "vetrina_client").glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom):
                needed.add(str(node.module).partition(".")[0])
            elif isinstance(node, ast.Import):
                needed |= {alias.name.partition(".")[0] for alias in node.names}
    assert needed == {
        "__future__",
        "collections",
        "dataclasses",
        "pathlib",
        "requests",
        "time",
        "typing",
        "vetrina_client",
    }
