"""What looks like this: by photo."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from web import asking
from web.callers import while_waited_for
from web.house import TheHouse, TheWanted
from web.parts import ThePart
from web.uploads import PHOTO

router = APIRouter(tags=["similar"])

_BYTES = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "description": "The photo: its bytes, a form with them, its address, or a product of the shop whose picture it is.",
    "required": True,
    "content": {
        "image/*": _BYTES,
        "application/octet-stream": _BYTES,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [PHOTO],
                "properties": {PHOTO: {"type": "string", "format": "binary"}},
            }
        },
        "application/json": {
            "schema": {
                "oneOf": [
                    {"type": "object", "required": [name], "properties": {name: {"type": "string"}}}
                    for name in ("url", "product_id")
                ]
            },
            "examples": {
                "address": {"value": {"url": "https://shop.example/pictures/oak-chair.jpg"}},
                "product": {"value": {"product_id": "oak-chair"}},
            },
        },
    },
}


@router.post("/search", openapi_extra={"requestBody": _BODY})
async def search(request: Request, house: TheHouse, wanted: TheWanted, part: ThePart) -> dict[str, Any]:
    """The products most similar to a photo, or to one thing on it."""
    upload = await house.upload(request)
    showing = house.showcase.now
    photo = await while_waited_for(request, house.photos.photo(showing, upload, part))
    return await house.asking.run(asking.search, showing, photo, wanted.k, wanted.conditions)
