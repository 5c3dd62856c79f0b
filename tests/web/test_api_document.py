from typing import Any

import pytest
import requests
from support.web_goods import IDS

from web.api import models, operation_models
from web.api.examples import EXAMPLES

ASKED = {
    "/api/v1/similar": {"id": "oak-chair", "k": "3"},
    "/api/v1/similar?exact=true": {"id": IDS["beer-glass"], "duplicates": "true"},
    "/api/v1/explain": {"id": "oak-chair", "result": "white-chair"},
    "/api/v1/products": {"q": "chair"},
    "/api/v1/product": {"id": IDS["yogurt-bottle"]},
    "/healthz": {},
    "/readyz": {},
}


@pytest.fixture(scope="module")
def document(served: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{served}/api/v1/openapi.json", timeout=30).json()
    return found


def _operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]


def _model(document: dict[str, Any], path: str, method: str = "get") -> type[Any]:
    """The model that the document names for a route's good answer."""
    answer = document["paths"][path.partition("?")[0]][method]["responses"]["200"]
    name = answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return _named(name)


def _named(name: str) -> type[Any]:
    found: type[Any] = getattr(models if hasattr(models, name) else operation_models, name)
    return found


@pytest.mark.parametrize("path", ASKED)
def test_answers_are_what_the_document_says(served: str, document: dict[str, Any], path: str) -> None:
    answer = requests.get(served + path, params=ASKED[path], timeout=30)
    assert answer.status_code == 200
    _model(document, path).model_validate(answer.json(), strict=True, extra="forbid")


def test_the_answer_to_a_photo_is_what_the_document_says(
    served: str, document: dict[str, Any], product_pictures: dict[str, bytes]
) -> None:
    answer = requests.post(f"{served}/api/v1/search", data=product_pictures["oak-chair"], timeout=60)
    _model(document, "/api/v1/search", "post").model_validate(answer.json(), strict=True, extra="forbid")


def test_problems_are_what_the_document_says(served: str, document: dict[str, Any]) -> None:
    answer = requests.get(f"{served}/api/v1/similar", params={"id": "none"}, timeout=30)
    media = document["paths"]["/api/v1/similar"]["get"]["responses"]["404"]["content"][answer.headers["content-type"]]
    assert media["schema"]["$ref"] == "#/components/schemas/Problem"
    models.Problem.model_validate(answer.json(), strict=True, extra="forbid")
    models.Problem.model_validate(media["example"], strict=True, extra="forbid")


def test_examples_are_answers_of_their_models_and_in_the_document(document: dict[str, Any]) -> None:
    shown = set()
    without_model = []
    for path, operation in _operations(document):
        good = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
        for media in [media for answer in good for media in answer.get("content", {}).values()]:
            name = media["schema"].get("$ref", "").rpartition("/")[2]
            if "example" in media and not name:
                without_model.append(path)
            elif "example" in media:
                _named(name).model_validate(media["example"], strict=True, extra="forbid")
                shown.add(name)
    assert shown == set(EXAMPLES)
    assert without_model == ["/api/v1/report", "/metrics"]


def test_what_can_be_kept_is_tagged_and_the_document_says_so(served: str, document: dict[str, Any]) -> None:
    sha256 = requests.get(f"{served}/api/v1/product", params={"id": "box"}, timeout=30).json()["sha256"]
    kept = set()
    for path, methods in document["paths"].items():
        if "get" not in methods:
            continue
        query = {"id": "oak-chair", "result": "box"}
        taken = {one["name"] for one in methods["get"].get("parameters", [])}
        asked = {name: value for name, value in query.items() if name in taken}
        answer = requests.get(served + path.replace("{sha256}", sha256), params=asked, timeout=30)
        assert ("etag" in answer.headers) is ("304" in methods["get"]["responses"]), path
        if "etag" in answer.headers:
            kept.add(path.rpartition("/api/v1/")[2])
        elif answer.status_code == 200:
            assert answer.headers["cache-control"] == "no-store"
    assert kept == {"similar", "explain", "products", "product", "pictures/{sha256}"}
    assert "Answers carry an `ETag`" not in document["info"]["description"]


def test_every_route_has_a_name_of_its_own_and_says_what_its_problems_are(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in _operations(document)]
    assert len(set(names)) == len(names)
    for path, operation in _operations(document):
        assert "application/problem+json" in operation["responses"]["default"]["content"], path
        assert operation["summary"], path
        assert {tag["name"] for tag in document["tags"]} >= set(operation["tags"]), path
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_parameter_is_described(document: dict[str, Any]) -> None:
    for path, operation in _operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter["in"] == "path" or parameter.get("description"), f"{parameter['name']} of {path}"
