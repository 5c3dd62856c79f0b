"""The products of the shop."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from vetrina.search.filters import parse_filter
from web import asking
from web.api import models
from web.api.document import UNCHANGED, answering
from web.house import ClassName, ProductId, TheHouse, Where
from web.sending import send
from web.shown.showing import Showing

router = APIRouter(tags=["products"])


@router.get("/products", responses=answering(models.ProductList) | UNCHANGED)
async def products(
    request: Request,
    house: TheHouse,
    text: Annotated[str, Query(alias="q", max_length=500, description="Words of the name, or of the id.")] = "",
    class_name: ClassName = None,
    where: Where = None,
    start: Annotated[int, Query(ge=0, description="How many to pass over.")] = 0,
    count: Annotated[int, Query(ge=1, le=1000, description="How many to list.")] = 60,
) -> Response:
    """Products by name, with how many there are of each class."""

    def listed(showing: Showing) -> dict[str, Any]:
        condition = parse_filter(where) if where else None
        found = showing.goods.listing(text, class_name or None, condition, start=start, count=count)
        return asking.listing_as_json(found)

    return await send(request, house, listed, house.turns(bool(where or text)))


@router.get("/product", responses=answering(models.Product) | UNCHANGED)
async def product(request: Request, house: TheHouse, product_id: ProductId) -> Response:
    """One product with its attributes, picture and crops."""
    return await send(request, house, lambda showing: asking.product_as_json(showing, product_id))
