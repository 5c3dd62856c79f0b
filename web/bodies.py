"""Bodies that are small by nature, such as forms: read within a bound of size and time."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.requests import ClientDisconnect

from web.problems import Problem

MOST_BYTES = 16 << 10
SECONDS = 10.0


async def small_body(request: Request, what: str, then: str) -> bytes:
    """The body of a request. Raises Problem (413, 408, 400) for one that is long, slow or cut off.

    Args:
        what: it is, such as "The form".
        then: what to do, as a sentence.
    """
    data = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for piece in request.stream():
                data += piece
                if len(data) > MOST_BYTES:
                    raise Problem(413, "too-large", f"{what} is too long", then)
    except TimeoutError as error:
        raise Problem(408, "too-slow", f"{what} came too slowly", then) from error
    except ClientDisconnect as error:
        raise Problem(400, "bad-request", f"The connection ended before {what.lower()} was whole", then) from error
    return bytes(data)
