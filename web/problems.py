"""Errors as RFC 9457 problem details: stable types, a sentence a person can act on, no stack traces."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from vetrina.errors import (
    ModelError,
    NotFound,
    PictureError,
    SettingError,
    StoreError,
    VetrinaError,
)

_log = logging.getLogger(__name__)

Answerer = Callable[[Request, Exception], Awaitable[Response]]
_FOR_PROGRAMS = frozenset({"api", "healthz", "readyz", "metrics"})
"""What paths begin with whose errors are never drawn as a page."""


class Problem(Exception):
    """An answer that is an error.

    Attributes:
        status: HTTP status.
        kind: stable name, the end of the problem's `type`.
        title: what kind of problem it is, the same each time.
        detail: this one, and what to do.
        more: further members of the problem.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str,
        *,
        more: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.more = more or {}
        self.headers = headers or {}

    def as_json(self) -> dict[str, Any]:
        """The problem's members."""
        return {
            "type": f"urn:vetrina:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.more,
        }


class NothingToShow(NotFound):
    """No state of the shop could be opened yet; it may come any moment."""


def problem_of(error: Exception) -> Problem:
    """What an error is to whoever asked."""
    match error:
        case Problem():
            return error
        case PictureError():
            return Problem(422, "picture", "The picture cannot be used", error.detail, more={"reason": error.reason})
        case NothingToShow():
            return Problem(
                503, "nothing-to-show", "The shop has nothing to show yet", str(error), headers={"Retry-After": "5"}
            )
        case NotFound():
            return Problem(404, "not-found", "There is no such thing", str(error))
        case SettingError():
            return Problem(400, "bad-request", "The request cannot be understood", str(error))
        case RequestValidationError():
            return Problem(400, "bad-request", "The request cannot be understood", _first_fault(error))
        case HTTPException(status_code=404):
            return Problem(404, "not-found", "There is no such thing", "There is nothing at this address; see /api")
        case HTTPException(status_code=405):
            headers = dict(error.headers or {})
            told = f"Use one of these methods: {headers.get('allow', headers.get('Allow', ''))}"
            return Problem(405, "method", "The method cannot be used here", told, headers=headers)
        case HTTPException():
            return Problem(
                error.status_code, "http", str(error.detail), str(error.detail), headers=dict(error.headers or {})
            )
        case StoreError() | ModelError():
            _log.error("%s", error)
            return Problem(
                503, "unavailable", "The shop cannot answer now", "Try again later", headers={"Retry-After": "10"}
            )
        case VetrinaError():
            return Problem(409, "refused", "It cannot be done", str(error))
    return Problem(500, "defect", "Something went wrong here", "It was logged; the request may be tried again")


def _first_fault(error: RequestValidationError) -> str:
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"][1:]) or str(fault["loc"][0])
    return f"{where}: {fault['msg']}"


def problem_response(problem: Problem) -> JSONResponse:
    """A problem as an answer of the API."""
    return JSONResponse(
        problem.as_json(), problem.status, headers=problem.headers, media_type="application/problem+json"
    )


def handle_problems(
    app: FastAPI, draw: Callable[[Request, Problem], Response], turned_away: Callable[[str], None]
) -> Answerer:
    """Answer every error of the API with a problem, and every other one with a page that `draw` makes of it.

    Args:
        turned_away: told of a request whose queue was full.

    Returns:
        What answers an error, also for those that nobody expects.
    """

    async def answer(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if problem.kind == "busy":
            turned_away("queue")
        if problem.status == 405 and request.method == "OPTIONS":
            return Response(status_code=204, headers=problem.headers)
        return draw(request, problem) if _wants_page(request) else problem_response(problem)

    for kind in (Problem, VetrinaError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)
    return answer


def _wants_page(request: Request) -> bool:
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    first = path.lstrip("/").partition("/")[0]
    return first not in _FOR_PROGRAMS and "json" not in request.headers.get("accept", "")
