"""The products of the shop."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from vetrina.search.filters import parse_filter
from web import asking
from web.house import ProductId, TheHouse

router = APIRouter(tags=["products"])


@router.get("/products")
async def products(
    house: TheHouse,
    text: Annotated[str, Query(alias="q", max_length=500, description="Words of the name, or of the id.")] = "",
    class_name: Annotated[str | None, Query(alias="class", max_length=200)] = None,
    where: Annotated[str | None, Query(max_length=10_000)] = None,
    start: Annotated[int, Query(ge=0)] = 0,
    count: Annotated[int, Query(ge=1, le=1000)] = 60,
) -> dict[str, Any]:
    """Products by name, with how many there are of each class."""
    showing = house.showcase.now
    found = await house.asking.run(
        showing.goods.listing,
        text,
        class_name or None,
        parse_filter(where) if where else None,
        start=start,
        count=count,
    )
    return {
        "products": [asking.listed_as_json(product) for product in found.products],
        "total": found.total,
        "classes": [{"class": name, "products": count} for name, count in found.classes],
    }


@router.get("/product")
async def product(house: TheHouse, product_id: ProductId) -> dict[str, Any]:
    """One product with its attributes, picture and crops."""
    return await house.asking.run(asking.product_as_json, house.showcase.now, product_id)
