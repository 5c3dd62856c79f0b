"""Answers that are given before the request's body was read, and still reach the caller.

A connection that is closed while bytes come in is reset, and the caller sees that instead of the answer; one that is
kept would have to take whatever else comes. So the answer goes out, what still comes is let by for a moment, and then
the connection is closed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = 5.0
_MOST_BYTES = 64 << 20


class Lingering:
    """Lets the rest of a body by, after the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        ended = False

        async def reading() -> Message:
            nonlocal ended
            message = await receive()
            ended = not message.get("more_body", False)
            return message

        async def answering(message: Message) -> None:
            if ended:
                await send(message)
            elif message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
                await send(message)
            elif message.get("more_body", False):
                await send(message)
            else:
                await send({**message, "more_body": True})
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SECONDS):
                        left = _MOST_BYTES
                        while not ended and left > 0:
                            left -= len((await reading()).get("body", b""))
                await send({"type": "http.response.body"})

        await self._app(scope, reading, answering)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
