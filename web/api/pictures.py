"""Pictures of the shop's products."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from vetrina.errors import NotFound
from web.api.document import UNCHANGED, problems
from web.house import TheHouse
from web.photos.parts import parse_box
from web.problems import Problem
from web.sending import names
from web.shown.thumbnails import SIDES

router = APIRouter(tags=["pictures"])

_SHA256 = r"^[0-9a-f]{64}$"


@router.get(
    "/pictures/{sha256}",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **UNCHANGED,
        **problems(400, 404, 422, 503),
    },
)
async def picture(
    request: Request,
    house: TheHouse,
    sha256: Annotated[str, Path(pattern=_SHA256)],
    side: Annotated[int, Query(description="Longest side in pixels: 96, 240, 480 or 960.")] = 480,
    box: Annotated[str | None, Query(description="A part: ymin,xmin,ymax,xmax as shares.", max_length=100)] = None,
) -> Response:
    """A product's picture, or a part of it, as JPEG."""
    if side not in SIDES:
        raise Problem(400, "bad-request", "The request cannot be understood", f"side must be one of {SIDES}")
    if not house.showcase.now.goods.shows(sha256):
        raise NotFound("No product has this picture")
    part = None if box is None else parse_box(box)
    asked = repr((sha256, side, part))
    tag = f'"{hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "public, max-age=31536000, immutable"}
    if names(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    data = await house.looking.run(house.thumbnails.jpeg, sha256, side, part)
    return Response(data, media_type="image/jpeg", headers=headers)
