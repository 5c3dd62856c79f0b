"""Who may change something: whoever shows the token, in a header (API) or once in a form (pages, by a cookie)."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from fastapi import Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from web.house import TheHouse
from web.operations.doorkeeper import SESSION_SECONDS
from web.problems import Problem

COOKIE = "vetrina_operations"
_bearer = HTTPBearer(auto_error=False, description="The token of VETRINA_SERVE_TOKEN.")


async def require_token(
    request: Request,
    house: TheHouse,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    """For routes of the API that change something. Raises Problem as `Doorkeeper.check`."""
    # Headers come decoded as Latin-1, whatever bytes were sent.
    given = None if credentials is None else credentials.credentials.encode("latin-1")
    house.doorkeeper.check(given, address_of(request))


def address_of(request: Request) -> str:
    """The caller's address, as the server or the proxy that it trusts has it."""
    return request.client.host if request.client is not None else ""


def signed_in(request: Request, house: TheHouse) -> bool:
    """Whether a page is asked for by somebody who may change something."""
    return house.doorkeeper.knows(request.cookies.get(COOKIE))


async def require_own_page(request: Request) -> None:
    """For forms: raises Problem (403) unless the browser says that it was sent from a page of this server.

    The session's cookie is SameSite=Strict; this also holds off other ports and subdomains of the same site.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        own = site == "same-origin"  # the browser compared, whatever a proxy made of the address
    else:
        own = origin is not None and origin.partition("://")[2] == request.headers.get("host")
    if not own:
        raise Problem(
            403,
            "other-origin",
            "The form came from elsewhere",
            "Forms are taken from this server's own pages only; open the page here and send it again",
        )


def sign_in(request: Request, response: Response, session: str) -> None:
    """Give the browser a session."""
    response.set_cookie(COOKIE, session, max_age=SESSION_SECONDS, **_cookie(request))


def sign_out(request: Request, response: Response) -> None:
    """Take the browser's session away."""
    response.delete_cookie(COOKIE, **_cookie(request))


class _Cookie(TypedDict):
    path: str
    secure: bool
    httponly: bool
    samesite: Literal["strict"]


def _cookie(request: Request) -> _Cookie:
    return {
        "path": f"{request.scope.get('root_path', '')}/operations",
        "secure": request.url.scheme == "https",
        "httponly": True,
        "samesite": "strict",
    }
