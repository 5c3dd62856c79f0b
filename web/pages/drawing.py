"""How pages are drawn: the templates, the links in them, and errors as pages.

Every link is a path of this host with the prefix that a proxy serves the application under. Nothing is inline: the
security policy allows neither scripts nor styles within a page.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from jinja2 import pass_context
from jinja2.runtime import Context

from web.pages.files import FILES
from web.pages.marking import large_first, marked
from web.pages.picking import is_plain_number, label_of
from web.pages.wording import counted, moment, short
from web.problems import Problem

templates = Jinja2Templates(Path(__file__).parent.parent / "templates")
"""The templates; everything that they show is escaped."""


def page(
    request: Request, template: str, *, status: int = 200, headers: dict[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """A page drawn from a template, such as `shop.html`. A browser keeps it for going back, and asks anew otherwise."""
    kept = "no-cache" if request.method in ("GET", "HEAD") else "no-store"
    headers = {"Cache-Control": kept, **(headers or {})}
    return templates.TemplateResponse(request, template, values, status_code=status, headers=headers)


def link(request: Request, route: str, query: Iterable[tuple[str, Any]] = (), **more: Any) -> str:
    """The path of a route by its name, with a query; what is None or empty is left out.

    Raises:
        NoMatchFound: there is no such route.
    """
    asked = [(name, value) for name, value in (*more.items(), *query) if value not in (None, "", False)]
    path = _path(request, route)
    return f"{path}?{urlencode(asked)}" if asked else path


def _path(request: Request, route: str, **parts: str) -> str:
    root: str = request.scope.get("app_root_path", request.scope.get("root_path", ""))
    return root.rstrip("/") + str(request.app.url_path_for(route, **parts))


def problem_page(request: Request, problem: Problem) -> HTMLResponse:
    """An error as a page."""
    return page(request, "problem.html", status=problem.status, headers=problem.headers, problem=problem)


@pass_context
def _link(context: Context, route: str, query: Iterable[tuple[str, Any]] = (), **more: Any) -> str:
    return link(context["request"], route, query, **more)


@pass_context
def _file(context: Context, name: str) -> str:
    return _path(context["request"], "file", version=FILES.version, name=name)


@pass_context
def _picture_url(context: Context, sha256: str, side: int) -> str:
    return f"{_path(context['request'], 'picture', sha256=sha256)}?side={side}"


templates.env.globals |= {
    "link": _link,
    "file": _file,
    "picture_url": _picture_url,
    "counted": counted,
    "marked": marked,
}
templates.env.filters |= {"label": label_of, "short": short, "moment": moment, "large_first": large_first}
templates.env.tests["plain_number"] = is_plain_number
templates.env.trim_blocks = templates.env.lstrip_blocks = True
