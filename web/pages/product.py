"""A product and what looks like it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from web.house import ProductId, TheHouse
from web.pages.drawing import page

router = APIRouter()


@router.get("/product", name="product", response_class=HTMLResponse)
async def product(request: Request, house: TheHouse, product_id: ProductId) -> HTMLResponse:
    """A product."""
    return page(request, "shop.html")
