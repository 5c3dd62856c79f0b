"""Search by a photo, or by a part of a product's picture.

A photo is looked at and let go. A script keeps it in the browser and sends its bytes for every question; a form
without one gets its photo back within the page.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from vetrina.detection.crops import Box
from vetrina.search.window import PhotoQuery
from web import asking
from web.house import House, TheHouse
from web.pages.drawing import page
from web.pages.marking import parts_of_photo, parts_of_product
from web.pages.picking import Picked, ThePicked
from web.pages.results import Results, Terms, TheTerms
from web.pages.wording import Wording, box_text
from web.photos.callers import while_waited_for
from web.photos.parts import ThePart
from web.shown.showing import Showing
from web.shown.thumbnails import encoded

router = APIRouter()

_SIDE = 960  # pixels of the longest side of a photo that is sent back


@router.get("/photo", name="photo", response_class=HTMLResponse)
async def photo(
    request: Request,
    house: TheHouse,
    part: ThePart,
    picked: ThePicked,
    terms: TheTerms,
    product: Annotated[str | None, Query(max_length=1000, description="The product whose picture it is.")] = None,
) -> HTMLResponse:
    """The way in; or the products that look like a part of a product's picture."""
    if not product:
        return page(request, "photo.html", here="photo", most=house.options.most_upload_bytes)
    showing = house.showcase.now
    data = await house.photos.picture_of(showing, product)
    seen = await while_waited_for(request, house.photos.see(showing, data, part))
    described = asking.product_as_json(showing, product)
    chosen = box_text(part) if isinstance(part, Box) else ""
    shown = {
        "product": product,
        "sha256": described["sha256"],
        "things": parts_of_product(product, described["items"], chosen),
    }
    return await house.turns(picked.filters).run(_drawn, request, house, showing, seen, part, picked, terms, shown)


@router.post("/photo", response_class=HTMLResponse)
async def uploaded(
    request: Request, house: TheHouse, part: ThePart, picked: ThePicked, terms: TheTerms
) -> HTMLResponse:
    """The products that look like a photo."""
    upload = await house.upload(request)
    showing = house.showcase.now
    seen = await while_waited_for(request, house.photos.photo(showing, upload, part))
    form = request.headers.get("content-type", "").startswith("multipart/")
    shown = {
        "source": await house.looking.run(_as_address, seen.pixels) if form else "",
        "things": parts_of_photo(seen.detected, part),
    }
    return await house.turns(picked.filters).run(_drawn, request, house, showing, seen, part, picked, terms, shown)


def _drawn(
    request: Request,
    house: House,
    showing: Showing,
    seen: PhotoQuery,
    part: Box | int | None,
    picked: Picked,
    terms: Terms,
    shown: dict[str, Any],
) -> HTMLResponse:
    picked = replace(picked, text="")
    product = shown.get("product")
    # A product is most like itself, which nobody asks.
    answer = asking.search(showing, seen, terms.k + bool(product), terms.conditions(house.shop, picked))
    answer["similar"] = [other for other in answer["similar"] if other["product_id"] != product][: terms.k]
    origin = [("product", product)] if product else []
    chosen = [("box", box_text(part))] if isinstance(part, Box) else [("object", str(part))] if part is not None else []
    return page(
        request,
        "photo.html",
        here="photo",
        shown=shown,
        drawn=part if isinstance(part, Box) and not any(thing.chosen for thing in shown["things"]) else None,
        chosen=part is not None,
        results=Results(answer),
        goods=showing.goods,
        picked=picked,
        terms=terms,
        hides_duplicates=house.shop.usual.distinct,
        wording=Wording(showing),
        route="photo",
        origin=origin,
        subject=origin + chosen,
        most=house.options.most_upload_bytes,
    )


def _as_address(pixels: np.ndarray) -> str:
    """A photo as an address that holds it, no larger than a page shows it."""
    return "data:image/jpeg;base64," + base64.b64encode(encoded(pixels, _SIDE)).decode()
