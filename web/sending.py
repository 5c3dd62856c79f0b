"""Answers of the API on their way out: made once for each state of the shop, tagged, and not sent twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from fastapi import Request, Response

from web.house import House
from web.shown.showing import Answer, Showing
from web.turns import Turns

_FRESH = "no-cache"  # kept by whoever likes, and asked for each time: an unchanged answer costs a 304


async def send(
    request: Request,
    house: House,
    make: Callable[[Showing], Any],
    turns: Turns | None = None,
    is_final: Callable[[Any], bool] = lambda value: True,
) -> Response:
    """An answer that depends on what is shown and on the request's address alone.

    It is made in a thread, unless this state of the shop has made it already. Whoever has it is told so (304).

    Args:
        make: gives plain values.
        turns: where it waits for its turn; None: with the questions to the index.
        is_final: whether what was made is the answer as long as this state of the shop is shown.
    """
    showing = house.showcase.now
    key = _digest(request.scope["path"].encode() + b"?" + request.scope["query_string"])
    answer = showing.answers.get(key)
    if answer is None:
        made, final = await (turns or house.asking).run(_made, make, showing, is_final)
        if final:
            showing.answers.put(key, made)
        answer = made
    else:
        house.metrics.from_cache.inc()
    headers = {"ETag": answer.tag, "Cache-Control": _FRESH}
    if names(request.headers.get("if-none-match"), answer.tag):
        return Response(status_code=304, headers=headers)
    return Response(answer.data, media_type="application/json", headers=headers)


def as_bytes(value: Any) -> bytes:
    """Plain values as JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def names(if_none_match: str | None, tag: str) -> bool:
    """Whether the header If-None-Match names an ETag (RFC 9110, 13.1.2: weakly compared)."""
    if if_none_match is None:
        return False
    named = (one.strip().removeprefix("W/") for one in if_none_match.split(","))
    return any(one in ("*", tag) for one in named)


def _made(make: Callable[[Showing], Any], showing: Showing, is_final: Callable[[Any], bool]) -> tuple[Answer, bool]:
    value = make(showing)
    data = as_bytes(value)
    return Answer(data, f'"{_digest(data)}"'), is_final(value)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
