"""A photo."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from web.house import TheHouse
from web.pages.drawing import page

router = APIRouter()


@router.get("/photo", name="photo", response_class=HTMLResponse)
async def photo(request: Request, house: TheHouse) -> HTMLResponse:
    """A photo."""
    return page(request, "shop.html")
