"""Every request is counted, timed and, where it is wanted, logged: by route, without ids, queries and addresses."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.server.metrics import Metrics

REQUESTS = logging.getLogger("vetrina.requests")
"""A line for each request, at level INFO."""
_METHODS = frozenset(["GET", "HEAD", "POST", "OPTIONS"])


class Watch:
    """Counts, times and logs."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0  # of one who hung up before there was an answer

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, watched)
            finally:
                seconds = time.perf_counter() - began
                method = scope["method"] if scope["method"] in _METHODS else "other"
                route = route_of(scope)
                self._metrics.answered(method, route, status, seconds)
                REQUESTS.info("%s %s %d %.1f ms", method, route, status, 1000 * seconds)


def route_of(scope: Scope) -> str:
    """The route that answered, as a template without what the caller put into it; "none" where there was none."""
    if "route" not in scope:
        return "none"
    parts = scope["path"].removeprefix(scope.get("root_path", "")).split("/")
    for name, value in reversed(scope.get("path_params", {}).items()):
        if value in parts:
            last = len(parts) - 1 - parts[::-1].index(value)
            parts[last] = f"{{{name}}}"
    return "/".join(parts)
