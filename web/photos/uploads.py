"""Photos that strangers send, read within bounds of size, time and memory, and kept in memory alone.

Starlette's own reading of forms is not used: it writes a file of more than a megabyte to the disk.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from web.photos.room import Claim, Room
from web.problems import Problem

PHOTO = "photo"
"""The name of the form's field that holds the photo."""

_ENVELOPE = 64 << 10
"""Bytes that a form may have besides its photo."""
_MOST_JSON = 16 << 10
_LONGEST = {"url": 4000, "product_id": 1000}
_RAW = ("image/", "application/octet-stream", "application/x-www-form-urlencoded")
"""Media types whose body is the photo itself; the last is what curl says of any bytes."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What a request searches with; one of the three is not None.

    Attributes:
        data: a photo's bytes, whatever they are.
        url: where a photo is, as the caller wrote it: nothing is checked yet.
        product_id: a product of the shop, whose picture it is.
    """

    data: bytes | None = None
    url: str | None = None
    product_id: str | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an upload may take.

    Attributes:
        seconds: in all.
        grace: seconds before it must have any pace.
        pace: bytes a second that it must have come with on the average, after that.
    """

    seconds: float = 60.0
    grace: float = 5.0
    pace: float = 16_384.0

    def allowed(self, received: int) -> float:
        """Seconds from its beginning at which the next bytes must be there."""
        return min(self.seconds, self.grace + received / self.pace)


PATIENCE = Patience()


async def uploaded(request: Request, limit: int, room: Room, patience: Patience = PATIENCE) -> Upload:
    """What a request's body says to search with: a photo's bytes, a form with a field `photo`, or JSON.

    Args:
        request: its body has not been read.
        limit: bytes that a photo may have.
        room: where the bytes are while they come in.
        patience: how slow they may come.

    Raises:
        Problem: 400 malformed or empty, 408 too slow, 413 too large (as soon as the limit is passed), 415 another
            media type, 503 too much comes in at once.
    """
    media, parameters = parse_options_header(request.headers.get("content-type"))
    kind = media.decode("latin-1")
    with room.claim() as claim:
        if kind == "application/json":
            return _told(b"".join([part async for part in _body(request, _MOST_JSON, claim, patience)]))
        if kind == "multipart/form-data":
            form = _Form(parameters.get(b"boundary", b""), limit)
            async for part in _body(request, limit, claim, patience, _ENVELOPE):
                form.write(part)
            data = form.photo()
        elif not kind or kind.startswith(_RAW):
            data = b"".join([part async for part in _body(request, limit, claim, patience)])
        else:
            raise Problem(
                415,
                "media-type",
                "This is no photo",
                f"Send a picture's bytes as image/jpeg or another image type, a form with a field {PHOTO!r} as "
                'multipart/form-data, or {"url": …} or {"product_id": …} as application/json',
            )
    if not data:
        raise _malformed("There is no photo in the request: its body is empty")
    return Upload(data=data)


async def _body(
    request: Request, limit: int, claim: Claim, patience: Patience, envelope: int = 0
) -> AsyncIterator[bytes]:
    """The body as it comes: `limit` bytes and as many as its envelope may have. Raises Problem."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit + envelope:
        raise _too_large(limit)
    begun = asyncio.get_running_loop().time()
    received = 0
    parts = request.stream()
    while True:
        try:
            async with asyncio.timeout_at(begun + patience.allowed(received)):
                part = await anext(parts, None)
        except TimeoutError as error:
            raise Problem(
                408,
                "too-slow",
                "The photo came too slowly",
                f"Only {received:,} bytes had come when its time was over; send a smaller photo, or try again",
            ) from error
        except ClientDisconnect as error:
            raise _malformed("The connection ended before the photo was whole") from error
        if part is None:
            return
        received += len(part)
        if received > limit + envelope:
            raise _too_large(limit)
        claim.take(len(part))
        yield part


class _Form:
    """The photo of a form, taken out of it as it comes. File names are not looked at."""

    def __init__(self, boundary: bytes, limit: int) -> None:
        self._limit = limit
        self._field: list[bytes] = []
        self._header: list[bytes] = []
        self._is_photo = self._ended = False
        self._photos = 0
        self._data = bytearray()
        if not boundary:
            raise _malformed("The form names no boundary in its content type")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._field.append(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header.append(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_part_data": self._take,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _malformed(f"The form cannot be read: {error}") from error

    def write(self, data: bytes) -> None:
        """Take the next bytes of the body. Raises Problem."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed(f"The form cannot be read: {error}") from error

    def photo(self) -> bytes:
        """The photo's bytes, after the last of the body. Raises Problem."""
        if not self._ended:
            raise _malformed("The form is cut off: its last boundary is missing")
        if not self._photos:
            raise _malformed(f"The form has no field {PHOTO!r}")
        return bytes(self._data)

    def _begin(self) -> None:
        self._is_photo = False

    def _end_header(self) -> None:
        name, value = b"".join(self._field).lower(), b"".join(self._header)
        self._field.clear()
        self._header.clear()
        if name != b"content-disposition":
            return
        _, parameters = parse_options_header(value.decode("latin-1"))
        if parameters.get(b"name") == PHOTO.encode():
            self._is_photo = True
            self._photos += 1
            if self._photos > 1:
                raise _malformed(f"The form has several fields {PHOTO!r}; send one photo at a time")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if not self._is_photo:
            return
        self._data += data[start:end]
        if len(self._data) > self._limit:
            raise _too_large(self._limit)

    def _end(self) -> None:
        self._ended = True


def _told(body: bytes) -> Upload:
    """What JSON says to search with. Raises Problem."""
    wanted = 'JSON must be {"url": "https://…"} or {"product_id": "…"}'
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"{wanted}; this cannot be read") from error
    if not isinstance(said, dict) or len(said) != 1:
        raise _malformed(wanted)
    ((name, value),) = said.items()
    if name not in _LONGEST or not isinstance(value, str) or not 0 < len(value) <= _LONGEST[name]:
        raise _malformed(wanted)
    return Upload(url=value) if name == "url" else Upload(product_id=value)


def _malformed(detail: str) -> Problem:
    return Problem(400, "bad-request", "The request cannot be understood", detail)


def _too_large(limit: int) -> Problem:
    return Problem(413, "too-large", "It is too large", f"What is sent may have {limit:,} bytes at most")
