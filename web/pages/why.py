"""Why a product is a result: the two pictures, what on them matched, and where everything came from."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from web import asking
from web.house import ProductId, TheHouse
from web.pages.drawing import page
from web.pages.wording import Wording
from web.photos.callers import while_waited_for
from web.photos.parts import ThePart
from web.shown.showing import Showing

router = APIRouter()

Result = Annotated[str, Query(min_length=1, max_length=1000, description="The product that came as a result.")]


@router.get("/why", name="why", response_class=HTMLResponse)
async def why(request: Request, house: TheHouse, product_id: ProductId, result: Result) -> HTMLResponse:
    """Why a product is a result of another."""
    showing = house.showcase.now

    def drawn() -> HTMLResponse:
        return _drawn(request, showing, asking.explained(showing, product_id, result))

    return await house.explaining.run(drawn)


@router.get("/why/part", name="why_part", response_class=HTMLResponse)
async def why_part(
    request: Request,
    house: TheHouse,
    part: ThePart,
    product: Annotated[str, Query(min_length=1, max_length=1000, description="The product whose picture it is.")],
    result: Result,
) -> HTMLResponse:
    """Why a product is a result of a part of a product's picture."""
    showing = house.showcase.now
    data = await house.photos.picture_of(showing, product)
    seen = await while_waited_for(request, house.photos.see(showing, data, part))

    def drawn() -> HTMLResponse:
        sha256 = showing.window.engine.items_of(product)[0].sha256
        found = asking.explained_photo(showing, seen, result, own=product)
        return _drawn(request, showing, found, product=product, sha256=sha256)

    return await house.explaining.run(drawn)


@router.post("/why/photo", name="why_photo", response_class=HTMLResponse)
async def why_photo(request: Request, house: TheHouse, part: ThePart, result: Result) -> HTMLResponse:
    """Why a product is a result of a photo, which the browser has and shows."""
    upload = await house.upload(request)
    showing = house.showcase.now
    seen = await while_waited_for(request, house.photos.photo(showing, upload, part))

    def drawn() -> HTMLResponse:
        return _drawn(request, showing, asking.explained_photo(showing, seen, result))

    return await house.explaining.run(drawn)


def _drawn(request: Request, showing: Showing, found: dict[str, Any], **photo: str) -> HTMLResponse:
    return page(request, "why.html", found=found, best=found["pairs"][0], wording=Wording(showing), photo=photo)
