"""The shop: all products, found by name or id, narrowed by what they show and what the catalogs say."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from vetrina.search.filters import parse_filter
from web.house import TheHouse
from web.pages.drawing import page
from web.pages.picking import ThePicked
from web.pages.wording import Wording

router = APIRouter()

_COUNT = 60  # products on a page


@router.get("/", name="shop", response_class=HTMLResponse)
async def shop(
    request: Request, house: TheHouse, picked: ThePicked, start: Annotated[int, Query(ge=0)] = 0
) -> HTMLResponse:
    """All products, or those that were asked for."""
    showing = house.showcase.now

    def drawn() -> HTMLResponse:
        found = showing.goods.listing(
            picked.text,
            picked.class_name or None,
            parse_filter(picked.where) if picked.where else None,
            narrowed=picked.narrowed,
            start=start,
            count=_COUNT,
        )
        return page(
            request,
            "shop.html",
            here="shop",
            q=picked.text,
            picked=picked,
            found=found,
            goods=showing.goods,
            wording=Wording(showing),
            start=start,
            end=start + len(found.products),
            count=_COUNT,
        )

    return await house.turns(bool(picked)).run(drawn)
