"""Why a product is a result of another: the two pictures, what on them matched, and where everything came from."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from web import asking
from web.house import ProductId, TheHouse
from web.pages.drawing import page
from web.pages.wording import Wording

router = APIRouter()


@router.get("/why", name="why", response_class=HTMLResponse)
async def why(
    request: Request,
    house: TheHouse,
    product_id: ProductId,
    result: Annotated[str, Query(min_length=1, max_length=1000)],
) -> HTMLResponse:
    """Why a product is a result of another."""
    showing = house.showcase.now

    def drawn() -> HTMLResponse:
        found = asking.explained(showing, product_id, result)
        return page(request, "why.html", found=found, best=found["pairs"][0], wording=Wording(showing))

    return await house.asking.run(drawn)
