"""What looks like this: by product."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from web import asking
from web.house import ProductId, TheHouse, TheWanted

router = APIRouter(tags=["similar"])


@router.get("/similar")
async def similar(house: TheHouse, product_id: ProductId, wanted: TheWanted) -> dict[str, Any]:
    """The products most similar to a product."""
    return await house.asking.run(asking.similar, house.showcase.now, product_id, wanted.k, wanted.conditions)


@router.get("/explain")
async def explain(
    house: TheHouse,
    product_id: ProductId,
    result: Annotated[str, Query(min_length=1, max_length=1000, description="The product that came as a result.")],
) -> dict[str, Any]:
    """Why a product is a result of another: vectors, crops, pictures, catalog lines, models."""
    return await house.asking.run(asking.explained, house.showcase.now, product_id, result)
