"""What looks like this: by product."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from vetrina.search.window import PICTURES_AWAY
from web import asking
from web.api import models
from web.api.document import UNCHANGED, answering
from web.house import ProductId, TheHouse, TheWanted
from web.sending import send
from web.shown.showing import Showing

router = APIRouter(tags=["similar"])


@router.get("/similar", responses=answering(models.SimilarAnswer) | UNCHANGED)
async def similar(request: Request, house: TheHouse, product_id: ProductId, wanted: TheWanted) -> Response:
    """The products most similar to a product.

    Filters come first: k products are returned whenever k pass. The product itself is never among them.
    """

    def similar(showing: Showing) -> dict[str, Any]:
        return asking.similar(showing, product_id, wanted.k, wanted.conditions)

    turns = house.turns(wanted.conditions.where is not None)
    return await send(request, house, similar, turns, lambda answer: PICTURES_AWAY not in answer["problems"])


@router.get("/explain", responses=answering(models.ExplainAnswer) | UNCHANGED)
async def explain(
    request: Request,
    house: TheHouse,
    product_id: ProductId,
    result: Annotated[str, Query(min_length=1, max_length=1000, description="The product that came as a result.")],
) -> Response:
    """Why a product is a result of another: vectors, crops, pictures, catalog lines, models."""

    def explained(showing: Showing) -> dict[str, Any]:
        return asking.explained(showing, product_id, result)

    return await send(request, house, explained, house.explaining)
