"""Parameters that no route takes are refused: a filter that is misspelt must not pass for no filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from vetrina.words import nearest
from web.problems import Problem


async def refuse_unknown(request: Request) -> None:
    """Raise Problem for a query parameter that the document does not give the route."""
    given = request.query_params.keys()
    if not given:
        return
    known = _known(request)
    for name in given:
        if name not in known:
            others = nearest(name[:100], known) if known else "there are none"
            detail = f"There is no parameter {name[:100]!r} here; {others}"
            raise Problem(400, "bad-request", "The request cannot be understood", detail)


def _known(request: Request) -> list[str]:
    """The parameters of the route, as the document lists them."""
    by_route: dict[str, list[str]] = request.app.state.parameters
    return by_route[f"{request.method} {request.scope['route'].name}"]


def parameters_of(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """The query parameters that each route of a document takes, by method and name."""
    return {
        f"{method.upper()} {operation['operationId']}": [
            one["name"] for one in operation.get("parameters", []) if one["in"] == "query"
        ]
        for methods in document["paths"].values()
        for method, operation in methods.items()
    }
