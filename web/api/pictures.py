"""Pictures of the shop's products, encoded anew: no byte of a stranger's file reaches a browser."""

from __future__ import annotations

import hashlib
from typing import Annotated

import cv2
import numpy as np
from fastapi import APIRouter, Path, Query, Request, Response

from vetrina.detection.crops import Box, cut
from vetrina.errors import NotFound
from vetrina.pictures.decoders import DecoderPool
from vetrina.store import Store, blob_path
from web.api.document import problems
from web.house import TheHouse
from web.parts import parse_box
from web.problems import Problem
from web.sending import names

router = APIRouter(tags=["pictures"])

SIDES = (96, 240, 480, 960)
"""Longest sides, in pixels, that pictures are made in."""
_SHA256 = r"^[0-9a-f]{64}$"


@router.get(
    "/pictures/{sha256}",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
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
    key = (sha256, side, part)
    tag = f'"{hashlib.blake2b(repr(key).encode(), digest_size=16).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "public, max-age=31536000, immutable"}
    if names(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    data = house.jpegs.get(key)
    if data is None:
        data = await house.looking.run(_jpeg, house.shop.store, house.decoders, sha256, side, part)
        house.jpegs.put(key, data)
    return Response(data, media_type="image/jpeg", headers=headers)


def _jpeg(store: Store, decoders: DecoderPool, sha256: str, side: int, box: Box | None) -> bytes:
    pixels = decoders.decode(store.read(blob_path(sha256))).pixels
    if box is not None:
        pixels = cut(pixels, box)
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1])
