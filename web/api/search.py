"""What looks like this: by photo."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from web import asking
from web.api import models
from web.api.document import answering
from web.house import TheHouse, WantedOfPhoto
from web.photos.callers import while_waited_for
from web.photos.parts import ThePart
from web.photos.uploads import PHOTO
from web.sending import as_bytes

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


@router.post(
    "/search",
    openapi_extra={"requestBody": _BODY},
    responses=answering(models.SearchAnswer, (400, 404, 408, 413, 415, 422, 503)),
)
async def search(request: Request, house: TheHouse, wanted: WantedOfPhoto, part: ThePart) -> Response:
    """The products most similar to a photo, or to one thing on it.

    The photo is gone when the answer is there; nothing of it is kept.
    """
    upload = await house.upload(request)
    showing = house.showcase.now
    photo = await while_waited_for(request, house.photos.photo(showing, upload, part))

    def answer() -> bytes:
        return as_bytes(asking.search(showing, photo, wanted.k, wanted.conditions))

    data = await house.turns(wanted.conditions.where is not None).run(answer)
    return Response(data, media_type="application/json", headers={"Cache-Control": "no-store"})
