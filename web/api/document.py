"""The API's document (OpenAPI): what routes say of their answers, and what all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from vetrina import __version__
from web.api.examples import EXAMPLES
from web.api.models import Problem

_REF = "#/components/schemas/{model}"
PROBLEMS: dict[int, tuple[str, dict[str, Any]]] = {
    400: ("bad-request", {"title": "The request cannot be understood", "detail": "k: Input should be less than 1001"}),
    401: ("unauthorized", {"title": "The token is needed", "detail": "Send the token of VETRINA_SERVE_TOKEN as: …"}),
    403: ("read-only", {"title": "Nothing can be changed here", "detail": "This server has no token: set …"}),
    404: ("not-found", {"title": "There is no such thing", "detail": "There is no product 'SKU-1' in the index"}),
    408: (
        "too-slow",
        {
            "title": "The photo came too slowly",
            "detail": "Only 4,096 bytes had come when its time was over; send a smaller photo, or try again",
        },
    ),
    409: ("refused", {"title": "It cannot be done", "detail": "Failed pictures are being asked for again already; …"}),
    413: ("too-large", {"title": "It is too large", "detail": "What is sent may have 20,971,520 bytes at most"}),
    415: ("media-type", {"title": "This is no photo", "detail": "Send a picture's bytes as image/jpeg …"}),
    422: (
        "picture",
        {
            "title": "The picture cannot be used",
            "detail": "The file ends too early",
            "reason": "truncated",
        },
    ),
    429: ("too-many-guesses", {"title": "Too many wrong tokens", "detail": "Try again in 8 s"}),
    503: ("busy", {"title": "Too many requests wait", "detail": "Try again in a second"}),
}
"""Status → kind and example of the problems that routes answer with."""
TAGS = [
    {"name": "similar", "description": "What looks like this, and why."},
    {"name": "products", "description": "The products of the shop."},
    {"name": "pictures", "description": "Their pictures, encoded anew."},
    {"name": "operations", "description": "What goes on in the shop; changed by whoever shows the token."},
    {"name": "health", "description": "For whoever runs it."},
]
_DESCRIPTION = (
    "Visually similar products. Ids are any text and travel as query parameters. Errors are problem details "
    "(RFC 9457): `type` is stable, `detail` is for people. Answers about products, and their pictures, carry an "
    "`ETag`; send it as `If-None-Match` and an unchanged one is a 304. Answers to a photo, on operations and on health "
    "are not to be kept (`no-store`). A 503 says in `Retry-After` when to come back, in seconds."
)


UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "`If-None-Match` names the `ETag` that it has: it is unchanged"}
}
"""What a route answers besides whose answers are tagged."""


def answering(model: type[BaseModel], statuses: Sequence[int] = (400, 404, 503)) -> dict[int | str, dict[str, Any]]:
    """What a route says of its answers: the good one, and the statuses of its problems."""
    return {200: {"model": model}, **problems(*statuses)}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route says of its problems."""
    return {status: _problem(status) for status in statuses}


def describe(app: FastAPI) -> None:
    """Let the application make its document as told here."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title="Vetrina",
                version=__version__,
                summary="Visually similar products",
                description=_DESCRIPTION,
                routes=app.routes,
                tags=TAGS,
                servers=[{"url": app.root_path or "/"}],
            )
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema(ref_template=_REF)
            _put_examples(made)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _put_examples(document: dict[str, Any]) -> None:
    """The examples of good answers, afterwards: FastAPI leaves out what is null."""
    for methods in document["paths"].values():
        for operation in methods.values():
            good = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
            for media in [media for answer in good for media in answer.get("content", {}).values()]:
                model = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
                if model in EXAMPLES:
                    media["example"] = EXAMPLES[model]


def _problem(status: int) -> dict[str, Any]:
    kind, said = PROBLEMS[status]
    example = {"type": f"urn:vetrina:problem:{kind}", "status": status, **said}
    return {"description": said["title"], "content": _content({"example": example})}


def _content(more: dict[str, Any]) -> dict[str, Any]:
    return {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}, **more}}


ANY_PROBLEM: dict[int | str, dict[str, Any]] = {
    "default": {"description": "Any other problem", "content": _content({})}
}
"""What every route may answer besides."""
